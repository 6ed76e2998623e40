// Asks the API that this page came from, and reads its errors and its events.

const BASE = new URL("../", import.meta.url);
let token = null;

/** What the API refused, as it said it: a problem (RFC 9457). */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

/** The address of a path, for a person to copy. */
export function address(path) {
  return new URL(path, BASE).href;
}

/** Sends this token with every request from now on. */
export function useToken(text) {
  token = text;
}

/** Whether requests have a token. */
export function hasToken() {
  return token !== null;
}

/** The JSON that a path answers to GET. */
export async function get(path) {
  return (await ask(path, {})).json();
}

/** The JSON that a path answers to a request. */
export async function post(path, body, signal) {
  return (await ask(path, { ...sending(body), signal })).json();
}

/** The events of a stream, one after another: {name, data}. An event that tells of an error is thrown. */
export async function* events(path, body, signal) {
  const reader = (await ask(path, { ...sending(body), signal })).body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let ended = false;
  while (!ended) {
    const { done, value } = await reader.read();
    ended = done;
    text += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const event = read(part);
      if (event !== null) yield event;
    }
  }
}

function read(text) {
  const lines = text.split("\n");
  const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
  const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
  if (name === undefined) return null; // a comment: nothing is told, but the service is there
  if (name === "error") throw new Refusal(JSON.parse(data));
  return { name, data: JSON.parse(data) };
}

function sending(body) {
  return { method: "POST", headers: { "content-type": "application/json" }, body };
}

async function ask(path, options) {
  const headers = { ...options.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
  const response = await fetch(new URL(path, BASE), { ...options, headers });
  if (response.ok) return response;
  const text = await response.text();
  let problem = { title: `${response.status} ${response.statusText}`, detail: text.slice(0, 1000) };
  try {
    problem = JSON.parse(text);
  } catch {
    // What stands between, such as a proxy, answers in a form of its own.
  }
  throw new Refusal({ ...problem, status: response.status });
}
