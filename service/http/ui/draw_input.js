// An input that is an image: drawn with a pointer or by keys, picked, turned, and made noisy.

import { DIGITS } from "./digit_strokes.js";
import { button, element } from "./elements.js";
import { Picture } from "./picture.js";

const SHOWN = 288;
const TURN_STEP = 5;

/** Whether an input is an image that can be drawn. */
export function isImage(spec) {
  const [height, width, channels = 1, ...more] = spec.shape;
  const sides = [height, width].every((side) => Number.isInteger(side) && side >= 4 && side <= 512);
  return spec.shape.length >= 2 && sides && [1, 3].includes(channels) && more.length === 0 && /float|int/.test(spec.dtype);
}

export class DrawInput {
  /** `recipe` tells the range of a pixel; with `digits` these can be picked. `changed` is called. */
  constructor(spec, recipe, digits, changed) {
    const [height, width, channels = 1] = spec.shape;
    const whole = spec.dtype.includes("int");
    const low = recipe?.low ?? 0;
    // Of bytes a card whose model was tried on 0 and 1 knows no better.
    const bytes = spec.dtype === "uint8" && (recipe?.high ?? 1) <= 1;
    const high = bytes ? 255 : (recipe?.high ?? (whole ? 255 : 1));
    this.spec = spec;
    this.picture = new Picture({ height, width, channels, low, high: high > low ? high : low + 1, whole });
    this.changed = changed;
    this.cursor = [Math.floor(width / 2), Math.floor(height / 2)];
    this.erasing = false;
    this.element = this.#build(digits);
    if (digits) this.#pick(8);
  }

  /** The row to send, as nested lists. */
  row() {
    const { height, width } = this.picture;
    const channels = this.spec.shape.length === 3 ? this.picture.channels : 0;
    const size = Math.max(1, channels);
    const pixel = (row, column) => {
      const start = (row * width + column) * size;
      return channels ? this.values.slice(start, start + size) : this.values[start];
    };
    return Array.from({ length: height }, (_, row) => Array.from({ length: width }, (_, column) => pixel(row, column)));
  }

  #build(digits) {
    const { height, width } = this.picture;
    const scale = Math.max(1, Math.floor(SHOWN / Math.max(height, width)));
    this.scale = scale;
    this.canvas = element("canvas", {
      id: "drawing",
      width: width * scale,
      height: height * scale,
      tabindex: 0,
      role: "application",
      "aria-label": `Drawing of ${height} by ${width} pixels`,
      "aria-describedby": "drawing-help",
      pointerdown: (event) => this.#press(event),
      pointermove: (event) => this.#drag(event),
      pointerup: () => this.#release(),
      pointercancel: () => this.#release(),
      keydown: (event) => this.#key(event),
      focus: () => this.#show(),
      blur: () => this.#show(),
    });
    this.place = element("p", { id: "drawing-place", role: "status", class: "unseen" });
    this.turn = this.#slider("turn", "Turn", { min: -180, max: 180, step: TURN_STEP }, "°");
    this.noise = this.#slider("noise", "Noise", { min: 0, max: 100, step: 5 }, " %");
    const eraser = button("Erase", () => {
      this.erasing = !this.erasing;
      eraser.setAttribute("aria-pressed", String(this.erasing));
    }, { "aria-pressed": "false" });
    const file = element("input", { type: "file", id: "picture-file", accept: "image/*", change: () => this.#open(file) });
    const picks = !digits ? null : element(
      "div",
      { role: "group", "aria-label": "Pick a digit", class: "picks" },
      DIGITS.map((_, digit) => button(String(digit), () => {
        this.#pick(digit);
        this.#update();
      })),
    );
    return element(
      "div",
      {},
      this.canvas,
      this.place,
      element("p", { id: "drawing-help", class: "hint" }, "Draw with a finger or the mouse. By keys: arrows move, Space draws, Delete erases."),
      picks,
      element("div", { class: "row" }, button("Clear", () => {
        this.picture.clear();
        this.#update();
      }), eraser),
      this.turn.element,
      this.noise.element,
      element("p", { class: "file" }, element("label", { for: "picture-file" }, "Picture from a file"), file),
    );
  }

  #slider(id, label, range, unit) {
    const shown = element("output", { for: id }, `0${unit}`);
    const input = element("input", { type: "range", id, value: 0, ...range, input: () => {
      shown.value = `${input.value}${unit}`;
      this.#update();
    } });
    return { input, element: element("div", { class: "slider small" }, element("label", { for: id }, label), input, shown) };
  }

  #pick(digit) {
    this.picture.clear();
    this.picture.strokes(DIGITS[digit]);
  }

  async #open(file) {
    const [chosen] = file.files;
    if (!chosen) return;
    let image;
    try {
      image = await createImageBitmap(chosen);
    } catch {
      this.place.textContent = `${chosen.name} is no picture that the browser can read.`;
      this.place.classList.remove("unseen");
      return;
    }
    const { columns, rows } = this.picture;
    const context = element("canvas", { width: columns, height: rows }).getContext("2d", { willReadFrequently: true });
    const fit = Math.min(columns / image.width, rows / image.height);
    // What the service resizes it stretches too.
    const [width, height] = this.spec.image_resize === null ? [image.width * fit, image.height * fit] : [columns, rows];
    context.drawImage(image, (columns - width) / 2, (rows - height) / 2, width, height);
    this.picture.take(context.getImageData(0, 0, columns, rows).data);
    this.#update();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = [
      ((event.clientX - box.left) / box.width) * this.picture.width,
      ((event.clientY - box.top) / box.height) * this.picture.height,
    ];
    return this.picture.unturned(at, Number(this.turn.input.value));
  }

  #press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#point(event);
    this.#draw(this.last, this.last);
  }

  #drag(event) {
    if (this.last === undefined || this.last === null) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const point = this.#point(one);
      this.#draw(this.last, point);
      this.last = point;
    }
  }

  #release() {
    this.last = null;
  }

  #key(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const ink = { " ": 1, Enter: 1, Delete: 0, Backspace: 0 }[event.key];
    if (dx === 0 && dy === 0 && ink === undefined) return;
    event.preventDefault();
    const { width, height } = this.picture;
    this.cursor = [Math.min(width - 1, Math.max(0, this.cursor[0] + dx)), Math.min(height - 1, Math.max(0, this.cursor[1] + dy))];
    if (ink !== undefined) {
      const centre = this.picture.unturned([this.cursor[0] + 0.5, this.cursor[1] + 0.5], Number(this.turn.input.value));
      this.#draw(centre, centre, ink);
    } else this.#show();
    const value = this.values[(this.cursor[1] * width + this.cursor[0]) * this.picture.channels];
    this.place.textContent = `Row ${this.cursor[1] + 1}, column ${this.cursor[0] + 1}: ${value}`;
  }

  #draw(from, to, ink = this.erasing ? 0 : 1) {
    this.picture.line(from, to, ink);
    this.#update();
  }

  #update() {
    this.show();
    this.changed();
  }

  /** Computes the row and shows it. */
  show() {
    this.values = this.picture.values(Number(this.turn.input.value), Number(this.noise.input.value) / 100);
    this.#show();
  }

  #show() {
    const { height, width, channels, low, high } = this.picture;
    const context = this.canvas.getContext("2d");
    const shade = (value) => Math.round((255 * (value - low)) / (high - low));
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const start = (row * width + column) * channels;
        const levels = [0, 1, 2].map((c) => shade(this.values[start + (channels === 3 ? c : 0)]));
        context.fillStyle = `rgb(${levels.join(" ")})`;
        context.fillRect(column * this.scale, row * this.scale, this.scale, this.scale);
      }
    }
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      context.lineWidth = 2;
      context.strokeStyle = "#ff9f1c";
      context.strokeRect(this.cursor[0] * this.scale + 1, this.cursor[1] * this.scale + 1, Math.max(3, this.scale - 2), Math.max(3, this.scale - 2));
    }
  }
}
