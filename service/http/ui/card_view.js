// The model's card, and what its audit found.

import { element, facts, short } from "./elements.js";

const LEVELS = { error: "Error", warning: "Warning", note: "Note" };

/** The card beside the question; all of it stands at the end, as JSON. */
export function cardView(card) {
  return [
    facts([
      ["Takes", list(card.inputs.map((input) => `${input.name}: ${shape(input.shape)} ${input.dtype}`))],
      ["Answers", list(card.outputs.map((output) => `${output.name}: ${shape(output.shape)} ${output.task}, ${output.scale}`))],
      ["Mean and variance are made of", list(unique(card.outputs.map((output) => output.estimator).filter((made) => made && card.sites.length)))],
      ["Noise", card.sites.length === 0 ? "none" : list(card.sites.map(site))],
      ["Share of the work that runs once", card.split.prefix_share === null ? null : short(card.split.prefix_share)],
      ["Members", card.members.length === 0 ? null : list(card.members.map((member) => `${member.name}:${member.version}`))],
      ["Note", card.note],
      ["Scores", Object.keys(card.scores).length === 0 ? null : list(Object.entries(card.scores).map(([name, value]) => `${name}: ${short(value)}`))],
      ["Made", `${card.created.slice(0, 10)} by Keras ${card.keras_version}, Thinned ${card.thinned_version}`],
    ]),
    ...card.outputs.flatMap((output) => calibration(output, card.outputs.length > 1)),
    ...(card.warnings.length === 0 ? [] : [element("h3", {}, "Warnings"), list(card.warnings)]),
    ...audit(card.audit),
    element("details", {}, element("summary", {}, "The card as JSON"), element("pre", { tabindex: 0, "aria-label": "The card as JSON" }, JSON.stringify(card, null, 1))),
  ];
}

function calibration(output, several) {
  const found = output.calibration;
  if (!found) return [];
  const { promise, policy } = found;
  return [
    element("h3", {}, several ? `Calibration of ${output.name}` : "Calibration"),
    facts([
      ["Rows", short(found.rows)],
      ["Passes", short(found.n_samples)],
      ["Temperature", found.temperature === null ? null : short(found.temperature)],
      ["Coverages stand on", promise ? `${promise.n} ${promise.counted}` : null],
      ["Policy", policy ? `accepts ${policy.score} up to ${short(policy.threshold)}: risk ${short(policy.risk)} with confidence ${short(policy.confidence)}, tested on ${policy.n} ${policy.counted}` : null],
    ]),
  ];
}

function audit(found) {
  if (!found) return [element("h3", {}, "Audit"), element("p", {}, "The card has no audit.")];
  return [
    element("h3", {}, "Audit"),
    element("p", {}, found.verdict),
    element("ul", { class: "findings" }, found.findings.map((finding) => element(
      "li",
      { class: finding.level },
      element("strong", {}, `${LEVELS[finding.level] ?? finding.level}: `),
      finding.text,
      finding.remedy ? element("p", {}, finding.remedy) : null,
      finding.reference ? element("p", { class: "hint" }, finding.reference) : null,
    ))),
  ];
}

function site({ path, kind, rate, stddev }) {
  return `${path}: ${kind}${rate === null ? "" : `, rate ${short(rate)}`}${stddev === null ? "" : `, deviation ${short(stddev)}`}`;
}

function shape(lengths) {
  return lengths.length === 0 ? "one value" : lengths.map((length) => length ?? "?").join(" × ");
}

function list(texts) {
  if (texts.length === 0) return null;
  return texts.length === 1 ? texts[0] : element("ul", {}, texts.map((text) => element("li", {}, text)));
}

function unique(texts) {
  return [...new Set(texts)];
}
