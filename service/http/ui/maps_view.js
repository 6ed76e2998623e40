// An output with a place in a picture for each of its numbers, (height, width, channels): maps of what is said of each.

import { draw, ends, heat } from "./charts.js";
import { element, facts, number } from "./elements.js";

const MOST = 4;

/** Whether a row of an answer is such a map. */
export function isMap(row) {
  return Array.isArray(row?.[0]?.[0]) && typeof row[0][0][0] === "number" && row.length > 1 && row[0].length > 1;
}

export class MapsView {
  constructor(spec) {
    this.spec = spec;
    this.names = [];
    this.maps = new Map();
    this.place = element("div", { class: "maps" });
    this.note = element("p", { class: "hint" });
    this.element = element("div", {}, this.place, this.note);
  }

  /** Shows what `of(field)` says of the first row. */
  show(of) {
    const plain = of("mean") === undefined;
    const mean = (of("mean") ?? of("outputs"))[0];
    const variance = of("variance")?.[0];
    const channels = mean[0][0].length;
    const shown = this.#largest(mean, channels);
    this.names = shown.map((channel) => `${this.#name(channel, channels)}, first place`);
    for (const channel of shown) {
      const name = this.#name(channel, channels);
      this.#map(`${plain ? "Answer" : "Mean"} of ${name}`, channelOf(mean, channel), plain ? "outputs" : "mean");
      if (variance) {
        const spread = channelOf(variance, channel).map((line) => line.map(Math.sqrt));
        this.#map(`Standard deviation of ${name}`, spread, "standard_deviation");
      }
    }
    const told = { predictive_entropy: "Entropy (nats)", mutual_information: "Mutual information (nats)" };
    for (const [field, name] of Object.entries(told)) {
      const values = of(field)?.[0];
      if (Array.isArray(values?.[0]) && typeof values[0][0] === "number") this.#map(name, values, field);
    }
    this.note.textContent = [
      shown.length < channels ? `The ${shown.length} of ${channels} channels that are largest on average.` : "",
      "Each map has colours of its own: the least of its numbers as the panel, the largest full.",
    ].filter((text) => text).join(" ");
  }

  /** The channels to show, always the same once they are chosen, so that maps do not jump while passes come. */
  #largest(mean, channels) {
    if (channels <= MOST) return [...Array(channels).keys()];
    this.chosen ??= [...Array(channels).keys()]
      .map((channel) => [average(channelOf(mean, channel).flat()), channel])
      .sort(([a], [b]) => b - a)
      .slice(0, MOST)
      .map(([, channel]) => channel)
      .sort((a, b) => a - b);
    return this.chosen;
  }

  #name(channel, channels) {
    const { labels, name, task } = this.spec;
    if (channels === 1 && task === "classification") return labels?.[1] ?? `${name}, class 1`;
    return labels?.[channel] ?? (channels === 1 ? name : `${name}[…, ${channel}]`);
  }

  #map(title, rows, field) {
    if (!this.maps.has(title)) this.maps.set(title, new HeatMap(this.place, title));
    this.maps.get(title).show(rows, field);
  }
}

class HeatMap {
  constructor(place, title) {
    this.title = title;
    this.canvas = element("canvas", { class: "map", role: "img" });
    this.facts = element("div");
    place.append(element("div", { class: "unit" }, element("h4", {}, title), this.canvas, this.facts));
  }

  show(rows, field) {
    const values = rows.flat();
    const [low, high] = ends(values);
    const numbers = [["Least", low], ["Largest", high], ["Average", average(values)]].map(([name, value]) => [name, number(value, `${field}-${name.toLowerCase()}`)]);
    this.canvas.setAttribute("aria-label", `${this.title}: ${numbers.map(([name, shown]) => `${name.toLowerCase()} ${shown.textContent}`).join(", ")}`);
    this.canvas.style.aspectRatio = `${rows[0].length} / ${rows.length}`;
    this.facts.replaceChildren(facts(numbers));
    draw(this.canvas, heat(values, rows.length, rows[0].length, [low, high]));
  }
}

function channelOf(row, channel) {
  return row.map((line) => line.map((place) => place[channel]));
}

function average(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
