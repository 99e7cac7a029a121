// The chosen trial in words and numbers: its settings, and its curve as a table.

import { h, scrolling, tableHead } from "./dom.js";
import { perFrame } from "./frames.js";
import * as format from "./format.js";

export class TrialDetails {
  /**
   * @param {(key: string) => object | undefined} row  The row of a trial.
   * @param {import("./curve_data.js").CurveData} data
   */
  constructor(row, data) {
    this.row = row;
    this.data = data;
    this.key = null;
    this.title = h("h3", {}, "Chosen trial");
    this.facts = h("dl", { class: "facts" });
    this.body = h("tbody");
    this.caption = h("caption");
    this.table = h("details", {}, h("summary", {}, "Its curve as a table"),
      scrolling("Epochs of the chosen trial", h("table", {}, this.caption, tableHead([
        ["Epoch", "n"], ["Validation F1", "n"], ["Best so far", "n"], ["Injected", "n"],
      ]), this.body)));
    this.table.addEventListener("toggle", () => this.draw());
    this.element = h("section", { "aria-label": "Chosen trial", hidden: true }, this.title, this.facts, this.table);
    this.draw = perFrame(() => this.frame());
  }

  setChosen(key) {
    this.key = key;
    this.body.replaceChildren();
    this.draw();
  }

  frame() {
    const row = this.key === null ? undefined : this.row(this.key);
    this.element.hidden = !row;
    if (!row) return;
    this.title.textContent = `Trial ${row.number}`;
    const facts = [
      ["State", row.reason ? `${row.state}: ${row.reason}` : row.state],
      ["Knobs", format.knobs(row.knobs) || format.NONE],
      ["Seed", String(row.seed)],
      ["Best validation F1", row.score === null ? format.NONE : `${format.score(row.score)} at epoch ${row.best_epoch}`],
      ["Test F1 there", format.score(row.test_score)],
      ["Cost", `${format.counted(row.epochs, "epoch")}, ${format.number(row.slot_seconds, 1)} slot-seconds`],
      ["Trained on", row.device ?? format.NONE],
    ];
    this.facts.replaceChildren(...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
    this.caption.textContent = `Trial ${row.number} by epoch`;
    if (this.table.open) this.epochs();
  }

  /** Add the epochs that the table lacks. */
  epochs() {
    const curve = this.data.curves.get(this.key);
    if (!curve) return;
    let best = -Infinity;
    const added = [];
    for (let epoch = 1; epoch <= curve.last; epoch += 1) {
      const f1 = curve.f1[epoch - 1];
      if (Number.isNaN(f1)) continue;
      best = Math.max(best, f1);
      if (epoch <= Number(this.body.lastChild?.dataset.epoch ?? 0)) continue;
      added.push(h("tr", { "data-epoch": epoch }, h("th", { scope: "row", class: "n" }, epoch),
        h("td", { class: "n" }, format.score(f1)), h("td", { class: "n" }, format.score(best)),
        h("td", { class: "n" }, format.percent(curve.injected[epoch - 1] / 255))));
    }
    this.body.append(...added);
  }
}
