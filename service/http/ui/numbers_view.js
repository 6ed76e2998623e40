// An output of numbers: for each of the first few its histogram over passes, its mean and its interval.

import { draw, histogram } from "./charts.js";
import { element, facts, number } from "./elements.js";

const MOST = 8;

export class NumbersView {
  constructor(spec) {
    this.spec = spec;
    this.units = [];
    this.names = [];
    this.place = element("div", { class: "numbers" });
    this.note = element("p", { class: "hint" });
    this.element = element("div", {}, this.place, this.note);
  }

  /** Shows what `of(field)` says of the first row; `passes` are lists of numbers. */
  show(of, passes) {
    const flat = (value) => (value === undefined || value === null ? [] : [value].flat(Infinity));
    const mean = flat((of("mean") ?? of("outputs"))[0]);
    const [variance, error] = ["variance", "standard_error"].map((field) => flat(of(field)?.[0]));
    const levels = (of("quantiles") ?? []).map((level) => flat(level[0]));
    const ends = ["lower", "upper"].map((end) => flat(of("interval")?.[end]?.[0]));
    const count = Math.min(MOST, mean.length);
    const shape = shapeOf((of("mean") ?? of("outputs"))[0]);
    while (this.units.length < count) {
      this.names.push(this.#name(this.units.length, shape));
      this.units.push(new Unit(this.place, this.names.at(-1)));
    }
    const plain = of("mean") === undefined;
    this.units.forEach((unit, i) => unit.show(passes.map((pass) => pass[i]), {
      mean: mean[i],
      plain,
      variance: variance[i],
      standard_error: error[i],
      interval: ends[0][i] === undefined ? undefined : [ends[0][i], ends[1][i]],
      quantiles: levels.length < 2 ? undefined : [levels[0][i], levels.at(-1)[i]],
    }));
    this.note.textContent = [
      count < mean.length ? `The first ${count} of ${mean.length} numbers.` : "",
      passes.length ? "Bars: how many passes fell there. Line: the mean. Band: the interval." : "",
    ].filter((text) => text).join(" ");
  }

  #name(i, shape) {
    const { task, levels, name } = this.spec;
    if (task === "quantile") return `quantile ${levels[i % levels.length]}`;
    const last = shape.at(-1) ?? 1;
    const own = task === "gaussian" ? [...shape.slice(0, -1), last / 2] : shape;
    const kind = task !== "gaussian" ? "" : i % last < last / 2 ? "mean of " : "log-variance of ";
    const place = task === "gaussian" ? Math.floor(i / last) * (last / 2) + ((i % last) % (last / 2)) : i;
    const count = own.reduce((size, length) => size * length, 1);
    return count === 1 ? `${kind}${name}` : `${kind}${name}[${indices(place, own).join(", ")}]`;
  }
}

function shapeOf(value) {
  return Array.isArray(value) ? [value.length, ...shapeOf(value[0])] : [];
}

/** Where in nested lists of a shape the entry is that has this number, the last axis fastest. */
function indices(i, shape) {
  return shape.map((length, axis) => Math.floor(i / shape.slice(axis + 1).reduce((size, inner) => size * inner, 1)) % length);
}

class Unit {
  constructor(place, name) {
    this.canvas = element("canvas", { class: "histogram", role: "img", "aria-label": `Histogram of the passes of ${name}` });
    this.facts = element("div");
    place.append(element("div", { class: "unit" }, element("h4", {}, name), this.canvas, this.facts));
  }

  show(passes, { mean, plain, variance, standard_error: error, interval, quantiles }) {
    const pair = (ends, field) => (ends === undefined ? null : [number(ends[0], `${field}-lower`), " to ", number(ends[1], `${field}-upper`)]);
    const one = (value, field) => (value === undefined ? null : number(value, field));
    this.facts.replaceChildren(facts([
      plain ? ["Answer", one(mean, "outputs")] : ["Mean", one(mean, "mean")],
      ["Variance", one(variance, "variance")],
      ["Standard error", one(error, "standard_error")],
      ["Interval of the coverage", pair(interval, "interval")],
      ["5 % to 95 % of the passes", pair(quantiles, "quantiles")],
    ]));
    this.canvas.hidden = passes.length === 0;
    draw(this.canvas, histogram(passes, mean, interval ?? quantiles));
  }
}
