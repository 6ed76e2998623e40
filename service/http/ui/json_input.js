// Inputs that are neither an image nor a few values: rows as JSON.

import { get } from "./api.js";
import { element } from "./elements.js";
import { nested } from "./table_input.js";

const MOST = 4096;

export class JsonInput {
  /** `recipes` tell of what shape and range a row is, by the name of the input. `changed` is called. */
  constructor(inputs, recipes, changed) {
    this.inputs = inputs;
    this.recipes = recipes;
    this.field = element("textarea", { id: "json", rows: 14, spellcheck: "false", "aria-describedby": "json-error", input: changed });
    this.error = element("p", { id: "json-error", class: "error" });
    this.element = element("div", {}, element("label", { for: "json" }, "inputs, as JSON; the first row is shown"), this.field, this.error);
  }

  /** Begins with the example that the API's own description has, or else with a row of typical values. */
  async begin() {
    const described = await get("docs.json");
    const example = described.paths["/predict_mc"].post.requestBody.content["application/json"].example;
    this.field.value = JSON.stringify(example?.inputs ?? this.#typical());
  }

  /** What is in the field; null where it is no JSON, which is told. */
  rows() {
    try {
      const found = JSON.parse(this.field.value);
      this.error.textContent = "";
      return found;
    } catch (error) {
      this.error.textContent = `This is not JSON: ${error.message}.`;
      return null;
    }
  }

  #typical() {
    const rows = this.inputs.map((spec) => {
      const recipe = this.recipes.get(spec.name);
      const shape = spec.shape.map((length, axis) => length ?? recipe?.shape[axis] ?? 1);
      const count = shape.reduce((size, length) => size * length, 1);
      if (count > MOST) return [spec.name, []];
      const value = spec.dtype === "string" ? (recipe?.words[0] ?? "word") : (recipe?.integers?.[0] ?? recipe?.low ?? 0);
      return [spec.name, [nested(new Array(count).fill(value), shape)]];
    });
    return rows.length === 1 ? rows[0][1] : Object.fromEntries(rows);
  }
}
