// The page: asks for the card, makes the inputs that fit it, asks the model, and shows its answer.

import { AnswerView } from "./answer_view.js";
import { events, get, hasToken, post, Refusal, useToken } from "./api.js";
import { cardView } from "./card_view.js";
import { DrawInput, isImage } from "./draw_input.js";
import { element } from "./elements.js";
import { JsonInput } from "./json_input.js";
import { Options } from "./options.js";
import { Snippets } from "./snippets.js";
import { isTable, TableInput } from "./table_input.js";

/** Changes that follow each other within so many milliseconds are asked for together. */
const CALM_MS = 120;
/** An answer so far stays to be seen for so many milliseconds, unless motion is not wanted. */
const SEEN_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 60;
/** Passes are asked for where all of them together are so many numbers at most. */
const MOST_NUMBERS = 100_000;

const at = (id) => document.getElementById(id);

class Page {
  constructor(card) {
    this.card = card;
    const recipes = new Map(card.examples.map((recipe) => [recipe.name, recipe]));
    const changed = () => this.#soon();
    this.input = inputOf(card, recipes, changed);
    this.options = new Options(at("options"), card, this.#most() / this.#numbers(), changed);
    this.answer = new AnswerView(at("outputs"), card);
    this.snippets = new Snippets(at("snippets"));
    at("inputs").replaceChildren(this.input.element);
    at("card").replaceChildren(...cardView(card));
    at("options").onsubmit = (event) => {
      event.preventDefault();
      this.ask();
    };
  }

  async begin() {
    await this.input.begin?.();
    this.input.show?.();
    await this.ask();
  }

  /** Asks no more. */
  leave() {
    clearTimeout(this.timer);
    this.running?.abort();
  }

  /** Asks with what the page says now; a request that is under way is given up. */
  async ask() {
    this.leave();
    const inputs = this.#inputs();
    if (inputs === null) return;
    const running = (this.running = new AbortController());
    const path = this.options.hasPasses ? "predict_mc" : "predict";
    const body = JSON.stringify({ inputs, ...this.options.fields(this.#isLarge()) });
    this.snippets.show(path, body);
    at("status").textContent = "Asking…";
    at("work").setAttribute("aria-busy", "true");
    try {
      await this.#follow(path, body, running.signal);
      if (this.running === running) tell(null);
    } catch (error) {
      if (this.running === running) {
        at("status").textContent = "";
        tell(error);
      }
    } finally {
      if (this.running === running) at("work").removeAttribute("aria-busy");
    }
  }

  async #follow(path, body, signal) {
    if (path === "predict") {
      this.answer.begin();
      this.answer.show(await post(path, body, signal));
      at("status").textContent = "This model draws no noise: its answer, without a spread.";
      return;
    }
    let begun = false;
    let ended = false;
    for await (const { name, data } of events(`${path}/stream`, body, signal)) {
      if (signal.aborted) return;
      if (!begun) this.answer.begin();
      begun = true;
      ended = name === "answer";
      // The last event has all passes once more.
      this.answer.show(data, { fresh: name === "progress" });
      at("status").textContent = name === "answer" ? `Answered from ${data.n_samples} passes of seed ${data.seed}.` : `${data.n_samples} passes…`;
      if (name === "progress") await new Promise((go) => setTimeout(go, SEEN_MS));
      if (signal.aborted) return;
    }
    if (!ended && !signal.aborted) throw new Error("the connection ended before the answer came; ask again");
  }

  #inputs() {
    if (this.input instanceof DrawInput) return [this.input.row()];
    const rows = this.input.rows();
    if (this.input instanceof JsonInput || this.card.inputs.length > 1) return rows;
    return rows[this.card.inputs[0].name];
  }

  /** Whether all passes would be more numbers than a page should be sent. */
  #isLarge() {
    const rows = this.input instanceof JsonInput ? (this.input.rows()?.length ?? 1) : 1;
    const passes = Number(this.options.samples?.input.value) || 1;
    return this.#numbers() * rows * passes > this.#most();
  }

  /** Numbers in the answer of a pass to a row; of lengths that vary a guess. */
  #numbers() {
    const size = ({ shape }) => shape.reduce((product, length) => product * (length ?? 64), 1);
    return this.card.outputs.reduce((sum, output) => sum + size(output), 0);
  }

  #most() {
    return Math.min(MOST_NUMBERS, this.card.limits.max_returned_numbers / 2);
  }

  #soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), CALM_MS);
  }
}

function inputOf(card, recipes, changed) {
  const [first] = card.inputs;
  if (card.inputs.length === 1 && isImage(first)) {
    return new DrawInput(first, recipes.get(first.name), card.outputs.some((output) => isDigits(output, first)), changed);
  }
  if (isTable(card.inputs)) return new TableInput(card.inputs, recipes, changed);
  return new JsonInput(card.inputs, recipes, changed);
}

/** Whether an output tells ten digits, or ten classes without names of a grey image. */
function isDigits({ task, shape, labels }, input) {
  const grey = input.shape.length === 2 || input.shape[2] === 1;
  return task === "classification" && shape.join() === "10" && (labels === null ? grey : labels.join("") === "0123456789");
}

/** Shows what went wrong, as the service said it; null for nothing. */
function tell(error) {
  if (error === null) {
    at("problem").replaceChildren();
    return;
  }
  const problem = error instanceof Refusal ? error.problem : { title: "No answer", detail: error.message };
  at("problem").replaceChildren(
    element("h2", {}, problem.title ?? "Error"),
    element("p", {}, problem.detail ?? ""),
    element("ul", {}, (problem.errors ?? []).map(({ loc, msg }) => element("li", {}, `${loc.join(".")}: ${msg}`))),
    problem.request_id ? element("p", { class: "hint" }, `Request ${problem.request_id}`) : "",
  );
  if (problem.status === 401) at("token").hidden = false;
}

let page = null;

async function begin() {
  try {
    const card = await get("model");
    tell(null);
    at("token").hidden = true;
    at("name").textContent = card.name;
    at("version").textContent = `version ${card.version}, served by Thinned`;
    document.title = `${card.name} · Thinned`;
    at("work").hidden = false;
    page?.leave();
    page = new Page(card);
    await page.begin();
  } catch (error) {
    // Without a token the page asks for one; that there was none is no error of the person's.
    if (error instanceof Refusal && error.problem.status === 401 && !hasToken()) {
      at("token").hidden = false;
      at("token-field").focus();
    } else tell(error);
  }
}

at("token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(at("token-field").value.trim());
  begin();
});
begin();
