// What is asked for besides the rows: passes, seed, and what the model was calibrated for.

import { button, element } from "./elements.js";

const PASSES = 320;
const BLOCK = 32;
const COVERAGES = [0.5, 0.8, 0.9, 0.95, 0.99];

export class Options {
  /** Fills the form. `shown` is how many passes an answer can show; `changed` is called with every change. */
  constructor(form, card, shown, changed) {
    const calibrations = card.outputs.map((output) => output.calibration).filter((found) => found);
    const promised = calibrations.map((found) => found.promise).filter((found) => found);
    const most = Math.min(...promised.map((found) => found.n / (found.n + 1)));
    const coverages = promised.length ? COVERAGES.filter((coverage) => coverage <= most) : [];
    this.samples = !card.members.length && !card.sites.length ? null : field("n-samples", "Passes", {
      min: 2, max: card.limits.max_samples, value: usual(shown, card.limits), input: changed,
    });
    this.seed = field("seed", "Seed", { min: 0, max: Number.MAX_SAFE_INTEGER, value: 1, input: changed });
    this.calibrated = calibrations[0]?.n_samples;
    this.coverage = coverages.length === 0 ? null : element("select", { id: "coverage", change: () => this.#choose(changed) }, [
      element("option", { value: "" }, "none"),
      coverages.map((coverage) => element("option", { value: coverage, selected: coverage === 0.9 }, `${coverage * 100} %`)),
    ]);
    this.policy = calibrations.some((found) => found.policy) ? box("policy", () => this.#choose(changed)) : null;
    this.ood = card.ood === null ? null : box("ood", changed);
    this.run = element("button", { type: "submit", id: "run" }, "Ask");
    const dice = button("Other seed", () => {
      this.seed.input.value = String(Math.floor(Math.random() * 1e9));
      changed();
    });
    form.replaceChildren(
      ...[
        this.samples?.element,
        this.samples === null ? null : element("div", { class: "field" }, this.seed.element, dice),
        labelled("coverage", "Coverage", this.coverage),
        labelled("policy", "Decision by the policy", this.policy),
        labelled("ood", "How unlike known rows", this.ood),
        this.run,
      ].filter((part) => part),
    );
    this.#choose(() => {});
  }

  /** Whether the model has passes to draw. */
  get hasPasses() {
    return this.samples !== null;
  }

  /** The fields of the request, without the rows; the passes themselves are asked for unless they are too many. */
  fields(large) {
    if (!this.hasPasses) return this.ood?.checked ? { ood: true } : {};
    const fixed = this.#fixed;
    return {
      ...(fixed ? {} : { n_samples: whole(this.samples.input.value) }),
      seed: whole(this.seed.input.value),
      ...(large ? {} : { return_samples: true, quantiles: [0.05, 0.95] }),
      ...(this.coverage?.value ? { coverage: Number(this.coverage.value) } : {}),
      ...(this.policy?.checked ? { policy: true } : {}),
      ...(this.ood?.checked ? { ood: true } : {}),
    };
  }

  get #fixed() {
    return Boolean(this.coverage?.value || this.policy?.checked);
  }

  #choose(changed) {
    if (this.samples !== null) {
      // A coverage and a policy hold for the passes that were calibrated, and for no others.
      this.samples.input.disabled = this.#fixed;
      if (this.#fixed) this.samples.input.value = String(this.calibrated);
    }
    changed();
  }
}

/** As many passes as an answer can show, in whole blocks, where the limits allow it. */
function usual(shown, limits) {
  const blocks = Math.max(1, Math.floor(Math.min(PASSES, shown) / BLOCK));
  return Math.min(blocks * BLOCK, limits.max_samples, limits.max_row_passes);
}

/** What a field says, as a number where it is one: what is none the API refuses, and says why. */
function whole(text) {
  return text.trim() === "" || !Number.isFinite(Number(text)) ? text : Number(text);
}

function field(id, label, attributes) {
  const input = element("input", { type: "number", id, step: 1, ...attributes });
  return { input, element: element("div", { class: "field" }, element("label", { for: id }, label), input) };
}

function box(id, changed) {
  return element("input", { type: "checkbox", id, checked: true, change: changed });
}

function labelled(id, label, control) {
  return control === null ? null : element("div", { class: "field" }, element("label", { for: id }, label), control);
}
