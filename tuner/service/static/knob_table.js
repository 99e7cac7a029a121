// What a search space varies, with fields to narrow a range.

import { h, scrolling, tableHead } from "./dom.js";
import * as format from "./format.js";

/** Return an end of a range as a number; a space may say it as a part of the epochs: "epochs/2". */
function bound(end, epochs) {
  const part = /^epochs(?:\/(\d+))?$/.exec(end);
  return part ? Math.max(1, Math.floor(epochs / Number(part[1] ?? 1))) : end;
}

export class KnobTable {
  /** @param {() => void} changed  Called when a range was edited. */
  constructor(changed) {
    this.given = new Map();
    this.body = h("tbody", { oninput: (event) => {
      event.stopPropagation();
      this.edit(event.target);
      changed();
    } });
    this.summary = h("p", { class: "soft" });
    this.fixed = h("p", { class: "soft" });
    this.element = h("fieldset", {}, h("legend", {}, "What varies"), this.summary,
      h("p", { class: "soft" }, "A range that is left empty is kept; it can only be narrowed."),
      scrolling("Knobs", h("table", {}, h("caption", {}, "Knobs"),
        tableHead([["Knob", null], ["From", null], ["To", null], ["Values", null]]), this.body)), this.fixed);
  }

  /** Forget the ranges of another space. */
  forget() {
    this.given.clear();
    this.body.replaceChildren();
  }

  edit(input) {
    const { knob, end } = input.dataset;
    const pair = this.given.get(knob) ?? ["", ""];
    pair[end === "low" ? 0 : 1] = input.value.trim();
    this.given.set(knob, pair);
  }

  /** Return narrowed ranges by knob; an end that was left empty keeps what the space says. */
  ranges() {
    const found = {};
    for (const [name, [low, high]] of this.given) {
      if (!low && !high) continue;
      const ends = this.ends?.[name] ?? ["", ""];
      found[name] = [low || String(ends[0]), high || String(ends[1])];
    }
    return found;
  }

  /** Show a space in trials of so many epochs. */
  show(space, epochs) {
    this.summary.textContent = space.summary ?? "";
    const fixed = format.knobs(space.fixed ?? {});
    this.fixed.textContent = fixed ? `Held fixed: ${fixed}` : "";
    const names = Object.keys(space.knobs);
    const anew = names.join() !== this.names || !this.body.rows.length;
    this.names = names.join();
    if (anew) {
      this.ends = {};
      this.body.replaceChildren(...names.map((name) => this.row(name, space.knobs[name])));
      if (!names.length) this.body.append(h("tr", {}, h("td", { colspan: 4 }, "Nothing: every trial differs in its seed alone.")));
    }
    for (const [name, knob] of Object.entries(space.knobs)) {
      if (this.given.has(name) || knob.low === undefined) continue;
      this.ends[name] = [bound(knob.low, epochs), bound(knob.high, epochs)];
      for (const input of this.body.querySelectorAll("input")) {
        if (input.dataset.knob === name) input.placeholder = String(this.ends[name][input.dataset.end === "low" ? 0 : 1]);
      }
    }
  }

  row(name, knob) {
    if (knob.low === undefined) {
      return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}), h("td", {}), h("td", {}, (knob.values ?? []).map(format.knob).join(", ")));
    }
    const end = (which, label) => h("td", {}, h("input", {
      type: "text", size: 8, inputmode: "decimal", autocomplete: "off", "data-knob": name, "data-end": which, "aria-label": `${name} ${label}`,
    }));
    return h("tr", {}, h("th", { scope: "row" }, name), end("low", "from"), end("high", "to"),
      h("td", {}, knob.kind === "int" ? "whole numbers" : knob.log ? "numbers, evenly in their logarithm" : "numbers"));
  }
}
