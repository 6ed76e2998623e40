// A picture that is drawn finely and read coarsely: as the pixels of a model's input, turned and noisy.

const FINE = 256;
const PEN = 0.07;

export class Picture {
  /** Black at first. `low` and `high` are the values of a pixel without and with ink. */
  constructor({ height, width, channels, low, high, whole }) {
    Object.assign(this, { height, width, channels, low, high, whole });
    this.fine = Math.max(1, Math.floor(FINE / Math.max(height, width)));
    this.rows = height * this.fine;
    this.columns = width * this.fine;
    this.ink = new Float32Array(this.rows * this.columns * channels);
  }

  clear() {
    this.ink.fill(0);
  }

  get empty() {
    return this.ink.every((value) => value === 0);
  }

  /** Draws, or erases, a line between two points; they are in pixels of the input, [x, y]. */
  line(from, to, ink = 1) {
    const [x0, y0, x1, y1] = [...from, ...to].map((value) => value * this.fine);
    const radius = Math.max(0.6, PEN * Math.min(this.rows, this.columns));
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const ends = (a, b, most) => [Math.max(0, Math.floor(Math.min(a, b) - radius)), Math.min(most, Math.ceil(Math.max(a, b) + radius))];
    const [top, bottom] = ends(y0, y1, this.rows);
    const [left, right] = ends(x0, x1, this.columns);
    for (let row = top; row < bottom; row += 1) {
      for (let column = left; column < right; column += 1) {
        const [px, py] = [column + 0.5 - x0, row + 0.5 - y0];
        const along = length === 0 ? 0 : Math.min(1, Math.max(0, (px * dx + py * dy) / length));
        if (Math.hypot(px - along * dx, py - along * dy) <= radius) this.#set(row, column, ink);
      }
    }
  }

  /** Draws strokes, lists of points in a square from 0 to 1. */
  strokes(lines) {
    const side = Math.min(this.width, this.height);
    const place = ([x, y]) => [this.width / 2 + (x - 0.5) * side, this.height / 2 + (y - 0.5) * side];
    for (const points of lines) {
      for (let i = 1; i < points.length; i += 1) this.line(place(points[i - 1]), place(points[i]));
    }
  }

  /** Takes the pixels of a picture of `columns` by `rows`, red, green, blue and alpha from 0 to 255. */
  take(rgba) {
    for (let i = 0; i < this.rows * this.columns; i += 1) {
      const [r, g, b] = [rgba[4 * i] / 255, rgba[4 * i + 1] / 255, rgba[4 * i + 2] / 255];
      if (this.channels === 1) this.ink[i] = 0.299 * r + 0.587 * g + 0.114 * b;
      else this.ink.set([r, g, b], 3 * i);
    }
  }

  /** Where a point of the input, turned by so many degrees, lies in the picture. */
  unturned([x, y], degrees) {
    const angle = (degrees * Math.PI) / 180;
    const [dx, dy] = [x - this.width / 2, y - this.height / 2];
    return [
      this.width / 2 + dx * Math.cos(angle) + dy * Math.sin(angle),
      this.height / 2 - dx * Math.sin(angle) + dy * Math.cos(angle),
    ];
  }

  /** The input's values, rows first: turned by so many degrees, with noise whose deviation is that share of the range. */
  values(degrees, noise) {
    const step = Math.min(8, Math.max(2, this.fine));
    const normal = normals(1);
    const found = new Array(this.height * this.width * this.channels);
    for (let row = 0; row < this.height; row += 1) {
      for (let column = 0; column < this.width; column += 1) {
        const sums = new Array(this.channels).fill(0);
        for (let i = 0; i < step * step; i += 1) {
          const point = [column + ((i % step) + 0.5) / step, row + (Math.floor(i / step) + 0.5) / step];
          const [x, y] = degrees === 0 ? point : this.unturned(point, degrees);
          for (let c = 0; c < this.channels; c += 1) sums[c] += this.#at(x, y, c);
        }
        for (let c = 0; c < this.channels; c += 1) {
          const share = Math.min(1, Math.max(0, sums[c] / (step * step) + noise * normal()));
          const value = this.low + share * (this.high - this.low);
          found[(row * this.width + column) * this.channels + c] = this.whole ? Math.round(value) : Number(value.toPrecision(4));
        }
      }
    }
    return found;
  }

  #set(row, column, ink) {
    this.ink.fill(ink, (row * this.columns + column) * this.channels, (row * this.columns + column + 1) * this.channels);
  }

  /** The ink at a point in pixels of the input, between the four fine pixels around it. */
  #at(x, y, channel) {
    const [fx, fy] = [x * this.fine - 0.5, y * this.fine - 0.5];
    const [left, top] = [Math.floor(fx), Math.floor(fy)];
    const [wx, wy] = [fx - left, fy - top];
    const ink = (row, column) =>
      row < 0 || column < 0 || row >= this.rows || column >= this.columns
        ? 0
        : this.ink[(row * this.columns + column) * this.channels + channel];
    const upper = ink(top, left) * (1 - wx) + ink(top, left + 1) * wx;
    const lower = ink(top + 1, left) * (1 - wx) + ink(top + 1, left + 1) * wx;
    return upper * (1 - wy) + lower * wy;
  }
}

/** Standard normal numbers, the same for the same seed: mulberry32's uniform ones by Box and Muller. */
function normals(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
