// Inputs of few values: a slider, a choice or a field for each, by its name and its range on the card.

import { element } from "./elements.js";

const MOST = 64;
const NORMAL = 3;

/** Whether all inputs together are few values of fixed number. */
export function isTable(inputs) {
  const sizes = inputs.map((spec) => spec.shape.reduce((size, length) => (length === null ? NaN : size * length), 1));
  const all = sizes.reduce((sum, size) => sum + size, 0);
  return inputs.length > 0 && sizes.every((size) => size >= 1) && all <= MOST;
}

export class TableInput {
  /** `recipes` tell the ranges, by the name of the input. `changed` is called with every change. */
  constructor(inputs, recipes, changed) {
    this.inputs = inputs;
    this.fields = new Map(inputs.map((spec) => [spec.name, fields(spec, recipes.get(spec.name), changed)]));
    const made = this.made(recipes);
    this.element = element(
      "div",
      {},
      inputs.map((spec) => {
        const lines = this.fields.get(spec.name).map((field) => field.element);
        return lines.length === 1 ? lines : element("fieldset", {}, element("legend", {}, spec.name), lines);
      }),
      made.length === 0 ? null : element("p", { class: "hint" }, `The card has no range of ${made.join(", ")}; import the model with --data to have it there.`),
    );
  }

  /** The inputs of which no data told the range. */
  made(recipes) {
    return this.inputs
      .filter((spec) => /float/.test(spec.dtype) && recipes.get(spec.name)?.high == null)
      .map((spec) => spec.name);
  }

  /** The rows to send, one of each input by name. */
  rows() {
    return Object.fromEntries(this.inputs.map((spec) => [spec.name, [nested(this.fields.get(spec.name).map((f) => f.value()), spec.shape)]]));
  }
}

/** Values as nested lists of a shape. */
export function nested(values, shape) {
  let found = values;
  for (const length of [...shape].reverse()) {
    found = Array.from({ length: found.length / length }, (_, i) => found.slice(i * length, (i + 1) * length));
  }
  return found[0];
}

function fields(spec, recipe, changed) {
  const count = spec.shape.reduce((size, length) => size * length, 1);
  return Array.from({ length: count }, (_, i) => {
    const name = spec.columns?.[i] ?? (count === 1 ? spec.name : `${spec.name}[${i}]`);
    const id = `value-${spec.name}-${i}`;
    if (spec.dtype === "string") return text(id, name, spec, recipe, changed);
    if (spec.dtype === "bool") return check(id, name, changed);
    if (recipe?.integers?.length) return choice(id, name, recipe.integers, spec, changed, Number);
    return slider(id, name, range(spec, recipe, i), changed);
  });
}

function range(spec, recipe, i) {
  const whole = spec.dtype.includes("int");
  let [low, high] = [recipe?.lows?.[i] ?? recipe?.low, recipe?.highs?.[i] ?? recipe?.high];
  if (spec.table_size !== null && spec.table_size !== undefined) [low, high] = [0, spec.table_size - 1];
  if (low == null || high == null) [low, high] = whole ? [0, 9] : [-NORMAL, NORMAL];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const step = whole ? 1 : 10 ** (Math.floor(Math.log10(high - low)) - 2);
  return { low, high, step, whole };
}

function slider(id, name, { low, high, step, whole }, changed) {
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const middle = whole ? Math.round((low + high) / 2) : (low + high) / 2;
  const start = Number(middle.toFixed(digits));
  const shared = { value: start, step: whole ? 1 : "any" };
  const exact = element("input", { type: "number", id: `${id}-number`, "aria-label": `${name}, exactly`, ...shared, input: () => {
    if (exact.value === "" || !Number.isFinite(Number(exact.value))) return;
    drawn.value = exact.value;
    changed();
  } });
  const drawn = element("input", { type: "range", id, min: low, max: high, ...shared, step, input: () => {
    exact.value = String(Number(Number(drawn.value).toFixed(digits)));
    changed();
  } });
  drawn.value = String(start);
  return {
    element: element("div", { class: "slider" }, element("label", { for: id }, name), drawn, exact),
    value: () => Number(exact.value),
  };
}

function check(id, name, changed) {
  const box = element("input", { type: "checkbox", id, change: changed });
  return { element: element("div", { class: "slider" }, element("label", { for: id }, name), box), value: () => box.checked };
}

function choice(id, name, values, spec, changed, read) {
  const missing = spec.missing === null || spec.missing === undefined ? [] : [element("option", { value: "" }, "missing")];
  const select = element("select", { id, change: changed }, values.map((value) => element("option", { value: `=${value}` }, String(value))), missing);
  return {
    element: element("div", { class: "slider" }, element("label", { for: id }, name), select),
    value: () => (select.value === "" ? null : read(select.value.slice(1))),
  };
}

function text(id, name, spec, recipe, changed) {
  const words = recipe?.words ?? [];
  // The card names 16 words at most: a shorter list is all that there are, or all that the user's rows had.
  const known = recipe?.values === "words" || (recipe?.values === "given" && words.length > 1);
  if (known && words.length > 0 && words.length < 16) return choice(id, name, words, spec, changed, String);
  const list = element("datalist", { id: `${id}-words` }, words.map((word) => element("option", { value: word })));
  const field = element("input", { type: "text", id, list: `${id}-words`, value: words[0] ?? "", input: changed });
  return {
    element: element("div", { class: "slider" }, element("label", { for: id }, name), field, list),
    value: () => field.value,
  };
}
