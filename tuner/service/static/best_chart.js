// The best validation macro-F1 so far against the epochs trained: whether a search still finds better.

import { h } from "./dom.js";
import { colours, drawAxes, onColours, sharpen, ticks } from "./axes.js";
import { perFrame } from "./frames.js";
import * as format from "./format.js";

const MARGIN = { left: 42, top: 8, right: 12, bottom: 40 };
const HEIGHT = 190;

export class BestChart {
  /** @param {() => {trained: number, steps: [number, number, object][]}} best */
  constructor(best) {
    this.best = best;
    this.canvas = h("canvas", { role: "img" });
    this.element = h("div", { class: "plot short-plot" }, this.canvas);
    this.draw = perFrame(() => this.frame());
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.element);
    this.forget = onColours(() => this.draw());
    this.draw();
  }

  close() {
    this.watcher.disconnect();
    this.forget();
  }

  frame() {
    const width = this.element.clientWidth;
    if (!width) return;
    const { trained, steps } = this.best();
    const context = this.canvas.getContext("2d");
    const ratio = sharpen(this.canvas, width, HEIGHT);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    const palette = colours();
    const low = steps.length ? Math.floor(steps[0][1] * 20) / 20 : 0;
    const high = steps.length ? Math.max(low + 0.1, Math.ceil(steps.at(-1)[1] * 20 + 0.2) / 20) : 1;
    const most = Math.max(10, trained);
    const box = {
      left: MARGIN.left, top: MARGIN.top, right: width - MARGIN.right, bottom: HEIGHT - MARGIN.bottom,
    };
    const x = (epochs) => box.left + epochs / most * (box.right - box.left);
    const y = (f1) => box.bottom - (f1 - low) / (high - low) * (box.bottom - box.top);
    drawAxes(context, {
      box, x, y, xs: ticks(0, most, Math.min(10, width / 80)), ys: ticks(low, high, 3),
      xTitle: "epochs trained, over all trials", yText: (value) => value.toFixed(2),
    }, palette);
    context.strokeStyle = palette.dynamic;
    context.lineWidth = 2;
    context.beginPath();
    steps.forEach(([at, f1], index) => {
      if (index) context.lineTo(x(at), y(steps[index - 1][1]));
      else context.moveTo(x(at), y(f1));
      context.lineTo(x(at), y(f1));
    });
    if (steps.length) context.lineTo(x(trained), y(steps.at(-1)[1]));
    context.stroke();
    const label = steps.length
      ? `Best validation macro-F1 so far: ${format.score(steps[0][1])} after ${format.counted(steps[0][0], "epoch")}, `
        + `${format.score(steps.at(-1)[1])} since epoch ${format.number(steps.at(-1)[0])} of ${format.number(trained)}.`
      : "Best validation macro-F1 so far: no epoch yet.";
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
  }
}
