// The trials of a job as a table in pages: sorted, filtered, and calm while it changes.
//
// A page is 25 rows that are kept and filled anew, so that 10,000 trials cost no more than 25. While
// the pointer or the focus is inside the rows, their order is held: nothing moves away under a
// finger; values still change.

import { announce, h, newId, setAttribute, setText } from "./dom.js";
import { trialKey } from "./curve_data.js";
import { perFrame } from "./frames.js";
import * as format from "./format.js";

const PAGE = 25;
const STATES = ["waiting", "running", "completed", "pruned", "diverged", "crashed", "stopped"];

/** One column: how it is called, what it sorts by, what it shows. */
function fixedColumns(several) {
  const columns = [
    { title: "Trial", value: (row) => row.number, text: (row) => String(row.number) },
    { title: "State", value: (row) => STATES.indexOf(row.state), text: (row) => row.state },
  ];
  if (several) columns.splice(1, 0, { title: "Run", value: (row) => row.run, text: (row) => row.run });
  return columns;
}

function measures() {
  return [
    { title: "Best F1", numeric: true, down: true, value: (row) => row.score, text: (row) => format.score(row.score) },
    { title: "at epoch", numeric: true, value: (row) => row.best_epoch, text: (row) => format.number(row.best_epoch) },
    { title: "Test F1", numeric: true, down: true, value: (row) => row.test_score, text: (row) => format.score(row.test_score) },
    { title: "Epochs", numeric: true, value: (row) => row.epochs, text: (row) => format.number(row.epochs) },
    { title: "Slot-s", numeric: true, value: (row) => row.slot_seconds, text: (row) => format.number(row.slot_seconds, 1) },
    { title: "Reason", note: true, value: (row) => row.reason, text: (row) => row.reason ?? "" },
  ];
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

export class TrialTable {
  /** @param {(key: string) => void} choose  What to do when a trial is chosen. */
  constructor(choose) {
    this.choose = choose;
    this.rows = new Map();
    this.knobs = [];
    this.runs = new Set();
    this.run = null;
    this.chosen = null;
    this.sorted = { title: "Best F1", down: true };
    this.page = 0;
    this.order = [];
    this.focus = 0;
    this.draw = perFrame(() => this.frame());
    this.build();
  }

  build() {
    const [state, words] = [newId("state"), newId("words")];
    this.state = h("select", { id: state, onchange: () => this.first() },
      h("option", { value: "" }, "all"), STATES.map((name) => h("option", { value: name }, name)));
    this.words = h("input", { id: words, type: "search", size: 14, placeholder: "such as T=5",
      oninput: () => this.first() });
    this.count = h("span", { class: "soft" });
    this.head = h("tr");
    this.body = h("tbody", {
      onkeydown: (event) => this.key(event),
      onclick: (event) => this.click(event),
      onpointerenter: () => { this.inside = true; },
      onpointerleave: () => { this.inside = false; this.draw(); },
      onfocusin: (event) => this.entered(event),
      onfocusout: () => { this.focused = false; this.draw(); },
    });
    this.slots = [];
    this.pageText = h("span", {});
    this.back = h("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.next = h("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    this.pages = h("div", { class: "pages", role: "group", "aria-label": "Pages of the trial table" },
      this.back, this.pageText, this.next);
    this.table = h("table", { class: "trials" },
      h("caption", { class: "unseen" }, "Trials; choosing one highlights its curve"),
      h("thead", {}, this.head), this.body);
    this.element = h("div", {},
      h("div", { class: "filters" },
        h("label", { for: state }, "State"), this.state,
        h("label", { for: words }, "Containing"), this.words, this.count),
      h("p", { class: "soft" }, "Choose a trial to highlight its curve; the arrow keys go from trial to trial."),
      h("div", { class: "scroll", role: "region", "aria-label": "Trial table", tabindex: "0" }, this.table),
      this.pages);
    this.columnsChanged();
  }

  /** Take over rows that changed. */
  update(rows) {
    let columns = false;
    for (const row of rows) {
      this.rows.set(trialKey(row.run, row.number), row);
      if (!this.runs.has(row.run)) {
        this.runs.add(row.run);
        columns = true;
      }
      for (const name of Object.keys(row.knobs)) {
        if (this.knobs.includes(name)) continue;
        this.knobs.push(name);
        columns = true;
      }
    }
    if (columns) this.columnsChanged();
    this.draw();
  }

  columnsChanged() {
    const knobs = this.knobs.map((name) => ({
      title: name,
      numeric: [...this.rows.values()].some((row) => typeof row.knobs[name] === "number"),
      value: (row) => row.knobs[name] ?? null,
      text: (row) => (name in row.knobs ? format.knob(row.knobs[name]) : format.NONE),
    }));
    this.columns = [...fixedColumns(this.runs.size > 1), ...knobs, ...measures()];
    this.head.replaceChildren(...this.columns.map((column) => {
      const button = h("button", { type: "button", onclick: () => this.sort(column) }, column.title);
      return h("th", { scope: "col", class: column.numeric ? "n" : null }, button);
    }));
    this.slots = [];
    this.body.replaceChildren();
  }

  sort(column) {
    const same = this.sorted.title === column.title;
    this.sorted = { title: column.title, down: same ? !this.sorted.down : Boolean(column.down) };
    announce(`Sorted by ${column.title}, ${this.sorted.down ? "highest" : "lowest"} first.`);
    this.first();
  }

  first() {
    this.page = 0;
    this.frame(true);
  }

  turn(by) {
    this.page += by;
    this.focus = 0;
    this.frame(true);
    if (this.next.disabled && by > 0) this.back.focus();
    if (this.back.disabled && by < 0) this.next.focus();
  }

  setRun(run) {
    this.run = run;
    this.first();
  }

  /** Show a trial as chosen; with `reveal` also turn to its page. */
  setChosen(key, reveal = false) {
    this.chosen = key;
    if (reveal) {
      this.arrange();
      const index = this.order.indexOf(key);
      if (index >= 0) {
        this.page = Math.floor(index / PAGE);
        this.focus = index % PAGE;
      }
    }
    this.frame(reveal);
  }

  arrange() {
    const column = this.columns.find((one) => one.title === this.sorted.title) ?? this.columns[0];
    const sign = this.sorted.down ? -1 : 1;
    const words = this.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (const [key, row] of this.rows) {
      if (this.run !== null && row.run !== this.run) continue;
      if (this.state.value && row.state !== this.state.value) continue;
      if (words.length) {
        const text = `${row.number} ${row.run} ${row.state} ${format.knobs(row.knobs)} ${row.reason ?? ""}`.toLowerCase();
        if (!words.every((word) => text.includes(word))) continue;
      }
      found.push([key, column.value(row), row.number]);
    }
    found.sort(([, a, m], [, b, n]) => {
      const missing = (a === null) - (b === null);
      return missing || (a === null ? 0 : sign * compare(a, b)) || m - n;
    });
    this.order = found.map(([key]) => key);
  }

  frame(anew = false) {
    if (anew || !(this.inside || this.focused)) this.arrange();
    const pages = Math.max(1, Math.ceil(this.order.length / PAGE));
    this.page = Math.max(0, Math.min(this.page, pages - 1));
    const keys = this.order.slice(this.page * PAGE, (this.page + 1) * PAGE);
    keys.forEach((key, index) => this.fill(this.slot(index), key, index));
    this.slots.forEach((slot, index) => { slot.row.hidden = index >= keys.length; });
    this.focus = Math.max(0, Math.min(this.focus, keys.length - 1));
    this.slots.forEach((slot, index) => setAttribute(slot.button, "tabindex", index === this.focus ? "0" : "-1"));
    this.columns.forEach((column, index) => setAttribute(this.head.cells[index], "aria-sort",
      column.title === this.sorted.title ? (this.sorted.down ? "descending" : "ascending") : null));
    setText(this.count, `${format.number(this.order.length)} of ${format.number(this.rows.size)} trials`);
    setText(this.pageText, `Page ${this.page + 1} of ${pages}`);
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
    this.pages.hidden = pages === 1;
    setAttribute(this.table, "aria-rowcount", this.order.length + 1);
  }

  slot(index) {
    while (this.slots.length <= index) {
      const button = h("button", { type: "button", class: "plain", "aria-pressed": "false" });
      const cells = this.columns.slice(1).map((column) => {
        const kind = column.numeric ? "n" : column.note ? "note-cell" : null;
        return h("td", { class: kind }, column.title === "State" ? h("span") : null);
      });
      const row = h("tr", {}, h("th", { scope: "row" }, button), cells);
      this.slots.push({ row, button, cells });
      this.body.append(row);
    }
    return this.slots[index];
  }

  fill(slot, key, index) {
    const row = this.rows.get(key);
    slot.row.dataset.key = key;
    setText(slot.button, String(row.number));
    this.columns.slice(1).forEach((column, at) => {
      const cell = slot.cells[at];
      if (column.title === "State") {
        setText(cell.firstChild, row.state);
        setAttribute(cell.firstChild, "class", `trial-state ${row.state}`);
      } else {
        setText(cell, column.text(row));
      }
    });
    const chosen = key === this.chosen;
    setAttribute(slot.button, "aria-pressed", chosen);
    setAttribute(slot.row, "class", chosen ? "chosen" : null);
    setAttribute(slot.row, "aria-rowindex", this.page * PAGE + index + 2);
  }

  entered(event) {
    this.focused = true;
    const index = this.slots.findIndex((slot) => slot.button === event.target);
    if (index < 0 || index === this.focus) return;
    this.slots[this.focus]?.button.setAttribute("tabindex", "-1");
    this.focus = index;
    event.target.setAttribute("tabindex", "0");
  }

  click(event) {
    const row = event.target.closest("tr");
    if (row) this.choose(row.dataset.key === this.chosen ? null : row.dataset.key);
  }

  key(event) {
    const shown = this.slots.filter((slot) => !slot.row.hidden).length;
    const to = { ArrowDown: this.focus + 1, ArrowUp: this.focus - 1, Home: 0, End: shown - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= shown) return;
    this.slots[to].button.focus();
  }
}
