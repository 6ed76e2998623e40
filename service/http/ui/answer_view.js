// The answer: of each output its classes or its numbers, and what is said of the whole row.

import { draw, lines } from "./charts.js";
import { ClassesView } from "./classes_view.js";
import { element, facts, number } from "./elements.js";
import { isMap, MapsView } from "./maps_view.js";
import { NumbersView } from "./numbers_view.js";

/** Fields of one value for a row, with their names for a reader. */
const TOLD = [
  ["predicted_label", "Label"],
  ["decision", "Decision"],
  ["score", "Score of the policy"],
  ["threshold", "Accepted up to"],
  ["prediction_set", "Set of the coverage"],
  ["predictive_entropy", "Entropy (nats)"],
  ["expected_entropy", "Expected entropy (nats)"],
  ["mutual_information", "Mutual information (nats)"],
  ["not_known", "Not known"],
];

export class AnswerView {
  constructor(place, card) {
    this.card = card;
    this.several = card.outputs.length > 1;
    this.row = element("div", { class: "row-facts" });
    this.outputs = card.outputs.map((spec) => new OutputView(spec, this.several));
    this.json = element("pre", { tabindex: 0, "aria-label": "The answer as JSON" });
    place.replaceChildren(
      ...this.outputs.map((output) => output.element),
      this.row,
      element("details", {}, element("summary", {}, "The answer as JSON, without its passes"), this.json),
    );
  }

  /** Forgets the passes of the request before. */
  begin() {
    for (const output of this.outputs) output.begin();
  }

  /** Shows an answer; `fresh` are the passes that are new with it, by the name of their output. */
  show(answer, { fresh = true } = {}) {
    for (const output of this.outputs) output.show(answer, fresh);
    this.row.replaceChildren(facts([
      ["Passes", told(answer.n_samples, "n_samples")],
      ["Seed", told(answer.seed, "seed")],
      ["Unlike known rows: distance", told(answer.ood_score?.[0], "ood_score")],
      ["Unlike known rows: p-value", told(answer.ood_p_value?.[0], "ood_p_value")],
      ["Error of the mean from", told(answer.standard_error_from, "standard_error_from")],
    ]));
    const { samples, ...rest } = answer;
    this.json.textContent = JSON.stringify(rest, null, 1).slice(0, 200_000);
  }
}

class OutputView {
  constructor(spec, several) {
    this.spec = spec;
    this.several = several;
    this.told = element("div");
    this.view = null;
    this.place = element("div");
    this.charts = new Map();
    this.lines = element("div", { class: "charts", hidden: true });
    this.element = element("div", { class: "output" }, several ? element("h3", {}, spec.name) : null, this.told, this.place, this.lines);
    this.begin();
  }

  begin() {
    this.passes = [];
    this.history = [];
  }

  show(answer, fresh) {
    const of = (field) => (this.several ? answer[field]?.[this.spec.name] : answer[field]);
    const row = (of("mean") ?? of("outputs"))[0];
    const samples = of("samples");
    if (samples && fresh) this.passes.push(...samples.map((pass) => flat(pass[0])));
    else if (samples) this.passes = samples.map((pass) => flat(pass[0]));
    const classes = ["classification", "multilabel"].includes(this.spec.task) && flatList(row);
    this.view ??= classes ? new ClassesView(this.spec) : isMap(row) ? new MapsView(this.spec) : new NumbersView(this.spec);
    if (!this.view.element.isConnected) this.place.append(this.view.element);
    this.view.show(of, this.passes);
    this.told.replaceChildren(facts(TOLD.map(([field, name]) => [name, told(first(of(field)), field)])));
    this.#converge(of, answer.n_samples);
  }

  /** Draws the entropies of a classification, or the mean of the first number, after each block. */
  #converge(of, count) {
    if (!count) return;
    const [total, shared] = ["predictive_entropy", "mutual_information"].map((field) => of(field)?.[0]);
    const entropies = typeof total === "number";
    const mean = flat(of("mean")[0])[0];
    const error = flat(of("standard_error")[0])[0];
    const values = entropies ? { total, shared } : { mean, low: mean - error, high: mean + error };
    this.history = [...this.history.filter(([n]) => n < count), [count, values]];
    this.lines.hidden = this.history.length < 2 || (!entropies && error === 0);
    const over = (name) => this.history.map(([n, then]) => [n, then[name]]);
    if (entropies) {
      this.#chart("Entropy (nats) by passes", [{ values: over("total"), style: "dot" }]);
      this.#chart("Mutual information (nats) by passes", [{ values: over("shared"), style: "other" }]);
    } else {
      this.#chart(`Mean of ${this.view.names[0]} and its standard error, by passes`, [
        { values: over("mean"), style: "dot" },
        { values: over("low"), style: "other", dashed: true },
        { values: over("high"), style: "other", dashed: true },
      ]);
    }
  }

  #chart(title, series) {
    if (!this.charts.has(title)) {
      const canvas = element("canvas", { class: "lines", role: "img", "aria-label": title });
      this.lines.append(element("div", { class: "unit" }, element("h4", {}, title), canvas));
      this.charts.set(title, canvas);
    }
    draw(this.charts.get(title), lines(series));
  }
}

/** What a field says of the first row: its first entry where it is a list. */
function first(value) {
  return Array.isArray(value) ? value[0] : value;
}

/** A value of an answer to show; null where it is none that has room on a line. */
function told(value, field) {
  if (typeof value === "number") return number(value, field);
  if (typeof value === "string") return element("span", { "data-field": field }, value);
  if (Array.isArray(value) && value.every((entry) => typeof entry !== "object")) {
    return element("span", { "data-field": field }, value.length === 0 ? "none" : value.join(", "));
  }
  return null;
}

/** All numbers of nested lists, the last axis fastest. */
export function flat(value) {
  return Array.isArray(value) ? value.flat(Infinity) : [value];
}

function flatList(value) {
  return Array.isArray(value) && value.every((entry) => typeof entry === "number");
}
