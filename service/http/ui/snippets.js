// The request as curl and as Python, to copy.

import { address, hasToken } from "./api.js";
import { button, element } from "./elements.js";

const MOST = 20_000;
const FILE = "request.json";

export class Snippets {
  constructor(place) {
    this.status = element("p", { role: "status", class: "hint" });
    this.texts = new Map([["curl", this.#part("curl")], ["python", this.#part("Python")]]);
    this.save = button("Save request.json", () => this.#save(), { hidden: true });
    place.replaceChildren(...[...this.texts.values()].map((part) => part.element), this.save, this.status);
  }

  /** Shows a request: its path and its body as it is sent. */
  show(path, body) {
    this.body = body;
    const inFile = body.length > MOST;
    this.save.hidden = !inFile;
    this.texts.get("curl").text.textContent = curl(address(path), inFile ? `@${FILE}` : body);
    this.texts.get("python").text.textContent = python(address(path), inFile ? null : JSON.parse(body));
  }

  #part(name) {
    const text = element("code", { id: `code-${name.toLowerCase()}` });
    const copied = button("Copy", async () => {
      const done = await copy(text);
      this.status.textContent = done ? `${name} is copied.` : `The browser forbids copying: select the text of ${name}.`;
    }, { "aria-label": `Copy ${name}`, id: `copy-${name.toLowerCase()}` });
    return { text, element: element("div", { class: "snippet" }, element("h3", {}, name), copied, element("pre", { tabindex: 0, "aria-label": name }, text)) };
  }

  #save() {
    const url = URL.createObjectURL(new Blob([this.body], { type: "application/json" }));
    element("a", { href: url, download: FILE }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

/** A curl command, for a POSIX shell. */
export function curl(url, body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const token = hasToken() ? ' -H "authorization: Bearer $TOKEN"' : "";
  return `curl -s ${quoted(url)}${token} \\\n  --json ${quoted(body)}`;
}

/** A Python program of the standard library alone; without a request it is read from the file. */
export function python(url, request) {
  const headers = [
    '"content-type": "application/json"',
    ...(hasToken() ? ['"authorization": "Bearer " + os.environ["TOKEN"]'] : []),
  ];
  return [
    "import json",
    ...(hasToken() ? ["import os"] : []),
    "import urllib.request",
    "",
    request === null ? `asked = json.load(open("${FILE}"))` : `asked = ${literal(request)}`,
    `headers = {${headers.join(", ")}}`,
    `request = urllib.request.Request(${JSON.stringify(url)}, json.dumps(asked).encode(), headers)`,
    "with urllib.request.urlopen(request) as response:",
    "    answer = json.load(response)",
    `print(answer["${url.endsWith("/predict") ? "outputs" : "mean"}"])`,
  ].join("\n");
}

/** A JSON value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${literal(inner)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Copies the text of an element; where the page is not served safely (plain HTTP, not from here), in the older way. */
async function copy(holder) {
  try {
    await navigator.clipboard.writeText(holder.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(holder);
    return document.execCommand("copy");
  }
}
