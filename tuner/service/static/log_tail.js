// The end of a job's log, which follows what is written until one scrolls up.

import { h } from "./dom.js";
import { perFrame } from "./frames.js";

const MOST_CHARACTERS = 200_000;
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]/g;

export class LogTail {
  constructor() {
    this.text = "";
    this.offset = 0;
    this.follow = h("input", { type: "checkbox", checked: true, onchange: () => this.draw() });
    this.pre = h("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "What the job's process wrote" });
    this.pre.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.note = h("span", { class: "soft" });
    this.element = h("div", {}, h("p", { class: "filters" }, h("label", {}, this.follow, " Follow the end"), this.note),
      this.pre);
    this.draw = perFrame(() => this.frame());
  }

  /** Append a part as the service tells it. */
  add(part) {
    this.offset = part.next_offset;
    this.ended = part.ended;
    this.text += part.text.replace(ESCAPES, "").replace(/[^\n]*\r(?!\n)/g, "");
    if (this.text.length > MOST_CHARACTERS) {
      this.text = this.text.slice(this.text.indexOf("\n", this.text.length - MOST_CHARACTERS / 2) + 1);
      this.cut = true;
    }
    this.draw();
  }

  frame() {
    this.pre.textContent = this.text || (this.ended ? "Nothing was written." : "Nothing is written yet.");
    this.note.textContent = this.cut ? "The beginning is left out; `tuner logs` prints all." : "";
    if (this.follow.checked) {
      this.moved = true;
      this.pre.scrollTop = this.pre.scrollHeight;
    }
  }

  scrolled() {
    if (this.moved) {
      this.moved = false;
      return;
    }
    const { scrollTop, scrollHeight, clientHeight } = this.pre;
    this.follow.checked = scrollHeight - scrollTop - clientHeight < 24;
  }
}
