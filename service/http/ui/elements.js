// Makes elements. Text becomes text, never markup.

/** An element with attributes (a function is a listener of that event) and children: nodes, text, or null for none. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** A number of an answer: its text is rounded to four digits, its value is the API's. */
export function number(value, field) {
  return element("data", { value: String(value), "data-field": field }, short(value));
}

/** A number as text, to four significant digits. */
export function short(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** A button that does not submit. */
export function button(text, click, attributes = {}) {
  return element("button", { type: "button", click, ...attributes }, text);
}

/** A list of terms, from pairs; a pair whose second entry is null or undefined is left out. */
export function facts(pairs) {
  const there = pairs.filter(([, value]) => value !== null && value !== undefined);
  return element("dl", {}, there.map(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}
