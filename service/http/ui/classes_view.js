// An output of classes: a line for each, with its passes, its mean and its variance.

import { dots, draw, ends } from "./charts.js";
import { element, number } from "./elements.js";

const MOST = 20;
const LIKELIEST = 12;

export class ClassesView {
  constructor(spec) {
    this.spec = spec;
    this.logits = spec.scale === "logits";
    this.lines = [];
    this.body = element("tbody");
    this.low = element("span");
    this.high = element("span");
    this.note = element("p", { class: "hint" });
    this.element = element(
      "div",
      {},
      element(
        "table",
        { class: spec.labels?.some((label) => label.length > 5) ? "classes long" : "classes" },
        element("caption", { class: "unseen" }, `Classes of ${spec.name}`),
        element("thead", {}, element(
          "tr",
          {},
          element("th", { scope: "col", class: "name" }, spec.task === "multilabel" ? "Label" : "Class"),
          element("th", { scope: "col" }, element("span", { class: "unseen" }, "passes"), element("span", { class: "scale", "aria-hidden": "true" }, this.low, this.high)),
          element("th", { scope: "col", class: "figure" }, this.logits ? "Mean logit" : "Mean"),
          this.logits ? element("th", { scope: "col", class: "figure" }, "Mean prob.") : null,
          element("th", { scope: "col", class: "figure" }, "Variance"),
        )),
        this.body,
      ),
      this.note,
    );
  }

  /** Shows what `of(field)` says of the first row; `passes` are lists of numbers. */
  show(of, passes) {
    const mean = (of("mean") ?? of("outputs"))[0];
    const variance = of("variance")?.[0];
    const probabilities = of("mean_probabilities")?.[0];
    const shown = this.#likeliest(mean);
    const scale = this.logits ? range([mean, ...passes]) : [0, 1];
    [this.low.textContent, this.high.textContent] = scale.map((end) => String(Number(end.toPrecision(3))));
    this.note.textContent = [
      passes.length ? `${passes.length} passes, each a dot; the bar is the mean.` : "",
      shown.length < mean.length ? `The ${shown.length} largest of ${mean.length} classes.` : "",
      of("plain_mean") ? "The mean is tempered, the dots are not." : "",
    ].filter((text) => text).join(" ");
    while (this.lines.length < shown.length) this.lines.push(new Line(this.body, this.logits));
    this.lines.forEach((line, i) => {
      const unit = shown[i];
      line.show(this.#name(unit, mean.length), passes.map((pass) => pass[unit]), scale, {
        mean: mean[unit], mean_probabilities: probabilities?.[unit], variance: variance?.[unit],
      });
    });
  }

  #likeliest(mean) {
    const all = mean.map((_, unit) => unit);
    return mean.length <= MOST ? all : all.sort((a, b) => mean[b] - mean[a]).slice(0, LIKELIEST);
  }

  #name(unit, count) {
    const { labels, task } = this.spec;
    // A single unit is the probability of the second of two classes.
    const own = count === 1 && task === "classification" ? 1 : unit;
    return labels?.[own] ?? String(own);
  }
}

class Line {
  constructor(body, logits) {
    this.name = element("th", { scope: "row", class: "name" });
    this.canvas = element("canvas", { class: "dots", "aria-hidden": "true" });
    this.cells = new Map(["mean", ...(logits ? ["mean_probabilities"] : []), "variance"].map((field) => [field, element("td", { class: "figure" })]));
    body.append(element("tr", {}, this.name, element("td", {}, this.canvas), [...this.cells.values()]));
  }

  show(name, passes, scale, values) {
    if (this.name.textContent !== name) this.name.textContent = name;
    for (const [field, cell] of this.cells) {
      cell.replaceChildren(values[field] === undefined ? "" : number(values[field], field));
    }
    draw(this.canvas, dots(passes, values.mean, scale));
  }
}

function range(lists) {
  const [low, high] = ends(lists.flat());
  return low < high ? [low, high] : [low - 1, high + 1];
}
