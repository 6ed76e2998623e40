// Drawings of passes: dots, histograms, and lines over the number of passes. They compute places, and tell no numbers.

const FONT = "12px system-ui, sans-serif";
/** Room for the numbers beside an axis. */
const LEFT = 60;
const GOLDEN = 0.6180339887;
const drawings = new Map();

/** Has a canvas drawn by a function of (context, width, height, colours), again whenever its size or the colours change. */
export function draw(canvas, paint) {
  drawings.set(canvas, paint);
  sizes.observe(canvas);
  repaint(canvas);
}

/** The least and the largest of numbers, of which there may be many. */
export function ends(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** A place on a line of so many pixels, for values from low to high. */
function placer(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Each pass a faint dot, the mean a bold mark; `spread` is what is said of the mean's neighbourhood, [low, high]. */
export function dots(passes, mean, [low, high]) {
  return (context, width, height, colours) => {
    const x = placer(low, high, 6, width - 6);
    context.fillStyle = colours.line;
    context.fillRect(6, Math.round(height / 2), width - 12, 1);
    context.fillStyle = colours.dot;
    context.globalAlpha = passes.length > 200 ? 0.25 : 0.4;
    passes.forEach((value, i) => {
      context.beginPath();
      context.arc(x(value), 5 + ((i * GOLDEN) % 1) * (height - 10), 2, 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
    context.fillStyle = colours.mark;
    context.fillRect(x(mean) - 2, 1, 4, height - 2);
  };
}

/** How many passes fell where, the mean a bold line, and a band from `band[0]` to `band[1]` where there is one. */
export function histogram(passes, mean, band) {
  return (context, width, height, colours) => {
    let [low, high] = ends([...passes, mean, ...(band ?? [])]);
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const bottom = height - 18;
    const x = placer(low, high, 8, width - 8);
    const bins = new Array(Math.max(8, Math.min(40, Math.floor(width / 12)))).fill(0);
    for (const value of passes) bins[Math.min(bins.length - 1, Math.floor(((value - low) / (high - low)) * bins.length))] += 1;
    if (band) {
      context.fillStyle = colours.band;
      context.fillRect(x(band[0]), 2, x(band[1]) - x(band[0]), bottom - 2);
    }
    const most = Math.max(1, ...bins);
    const step = (width - 16) / bins.length;
    context.fillStyle = colours.dot;
    bins.forEach((count, i) => context.fillRect(8 + i * step + 0.5, bottom - (count / most) * (bottom - 6), step - 1, (count / most) * (bottom - 6)));
    context.fillStyle = colours.mark;
    context.fillRect(x(mean) - 1.5, 2, 3, bottom - 2);
    context.fillStyle = colours.line;
    context.fillRect(8, bottom, width - 16, 1);
    const [least, largest] = apart(low, high);
    label(context, colours, [[least, 8, "left"], [largest, width - 8, "right"]], height - 4);
  };
}

/** Lines over the number of passes; a line is {values: [[n, value]...], style: the name of its colour, dashed}. */
export function lines(series) {
  return (context, width, height, colours) => {
    const points = series.flatMap((line) => line.values);
    if (points.length === 0) return;
    const last = Math.max(...points.map(([n]) => n), 1);
    let [low, high] = ends(points.map(([, value]) => value));
    if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
    const x = placer(0, last, LEFT, width - 10);
    const y = placer(low, high, height - 24, 8);
    context.fillStyle = colours.line;
    context.fillRect(LEFT, height - 20, width - 10 - LEFT, 1);
    for (const line of series) {
      context.strokeStyle = colours[line.style];
      context.fillStyle = colours[line.style];
      context.lineWidth = 2;
      context.setLineDash(line.dashed ? [5, 4] : []);
      context.beginPath();
      line.values.forEach(([n, value], i) => (i === 0 ? context.moveTo(x(n), y(value)) : context.lineTo(x(n), y(value))));
      context.stroke();
      context.setLineDash([]);
      for (const [n, value] of line.values) {
        context.beginPath();
        context.arc(x(n), y(value), 2.5, 0, 2 * Math.PI);
        context.fill();
      }
    }
    label(context, colours, [[String(last), width - 10, "right"], ["0", LEFT, "left"]], height - 5);
    const [least, largest] = apart(low, high);
    label(context, colours, [[largest, LEFT - 4, "right"]], 14);
    label(context, colours, [[least, LEFT - 4, "right"]], height - 24);
  };
}

/** The ends of an axis as texts: three digits, or as many as tell them apart. */
function apart(low, high) {
  for (let digits = 3; ; digits += 1) {
    const texts = [low, high].map((value) => String(Number(value.toPrecision(digits))));
    if (texts[0] !== texts[1] || digits === 7) return texts;
  }
}

function label(context, colours, texts, y) {
  context.font = FONT;
  context.fillStyle = colours.text;
  for (const [text, x, align] of texts) {
    context.textAlign = align;
    context.fillText(text, x, y);
  }
}

/** Numbers of a map, its lines one after the other, as colours: from those of the panel, at `low`, to full, at `high`. */
export function heat(values, rows, columns, [low, high]) {
  return (context, width, height, colours) => {
    const [from, to] = [colours.panel, colours.dot].map(rgb);
    const share = placer(low, high, 0, 1);
    const small = new ImageData(columns, rows);
    values.forEach((value, i) => {
      small.data.set([...from.map((start, part) => start + share(value) * (to[part] - start)), 255], 4 * i);
    });
    const picture = new OffscreenCanvas(columns, rows);
    picture.getContext("2d").putImageData(small, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, width, height);
  };
}

/** Red, green and blue of a colour such as #0b5cad. */
function rgb(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
}

function repaint(canvas) {
  const paint = drawings.get(canvas);
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!paint || width === 0 || height === 0) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  paint(context, width, height, {
    dot: colour("accent"), mark: colour("text"), line: colour("line"), band: colour("band"), text: colour("muted"), other: colour("other"), panel: colour("panel"),
  });
}

function repaintAll() {
  for (const canvas of drawings.keys()) {
    if (canvas.isConnected) repaint(canvas);
    else {
      sizes.unobserve(canvas);
      drawings.delete(canvas);
    }
  }
}

const sizes = new ResizeObserver((entries) => entries.forEach((entry) => repaint(entry.target)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaintAll);
