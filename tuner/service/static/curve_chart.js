// Validation macro-F1 by epoch, a line for every trial, smooth with 1000 of them.
//
// Trials that have ended are drawn once, into a picture that is kept; those under way, the chosen
// one and the best are drawn above it in every frame that changes. The picture is drawn anew only
// when its scale, size or colours change, a few milliseconds of it per frame.

import { h, setText } from "./dom.js";
import { colours, drawAxes, drawLabel, onColours, sharpen, ticks } from "./axes.js";
import { perFrame } from "./frames.js";
import * as format from "./format.js";

const SLICE_MS = 5;
const NEAR_PX = 30;
const MARGIN = { left: 42, top: 12, right: 12, bottom: 40 };
const HEIGHT = 380;

const LEGEND = [
  ["ended", "ended"],
  ["running", "under way"],
  ["injected", "injected epochs"],
  ["best", "best so far"],
  ["chosen", "chosen trial"],
];

export class CurveChart {
  /**
   * @param {import("./curve_data.js").CurveData} data
   * @param {(key: string) => void} choose  What to do when a curve is clicked.
   */
  constructor(data, choose) {
    this.data = data;
    this.choose = choose;
    this.epochs = 1;
    this.run = null;
    this.chosen = null;
    this.hovered = null;
    this.back = document.createElement("canvas");
    this.under = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { role: "img" });
    this.place = h("div", { class: "plot tall-plot" }, this.under, this.over);
    this.readout = h("p", { class: "readout" }, "");
    this.element = h("div", {},
      h("ul", { class: "legend", "aria-label": "What the lines mean" }, LEGEND.map(([kind, text]) =>
        h("li", {}, h("span", { class: `swatch ${kind}` }), text))),
      this.place, this.readout);
    this.draw = perFrame(() => this.frame());
    this.over.addEventListener("pointermove", (event) => this.hover(event));
    this.over.addEventListener("pointerleave", () => this.setHovered(null));
    this.over.addEventListener("click", (event) => {
      this.hover(event);
      if (this.hovered) this.choose(this.hovered.key);
    });
    this.watcher = new ResizeObserver(() => this.redraw());
    this.watcher.observe(this.place);
    this.forget = onColours(() => this.redraw());
    this.describe();
    this.redraw();
  }

  close() {
    this.watcher.disconnect();
    this.forget();
  }

  /** Show only one run of a study, or all with null. */
  setRun(run) {
    this.run = run;
    this.redraw();
  }

  /** Highlight a trial. */
  setChosen(key) {
    this.chosen = key;
    this.draw();
    this.read();
  }

  setHovered(curve, epoch = 0) {
    if (this.hovered === curve && this.hoveredEpoch === epoch) return;
    this.hovered = curve;
    this.hoveredEpoch = epoch;
    this.draw();
    this.read();
  }

  /** Forget the picture and draw all of it again. */
  redraw() {
    this.palette = null;
    this.draw();
  }

  shown(curve) {
    return this.run === null || curve.run === this.run;
  }

  frame() {
    const width = this.place.clientWidth;
    if (!width) return;
    this.scale(width, HEIGHT);
    const done = this.drawEnded();
    if (done && this.fresh) {
      const context = this.under.getContext("2d");
      sharpen(this.under, width, HEIGHT);
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, this.under.width, this.under.height);
      context.drawImage(this.back, 0, 0);
      this.fresh = false;
    }
    this.drawLive();
    if (!done) this.draw();
  }

  /** Choose the scales; where they change, the picture starts anew. */
  scale(width, height) {
    const { data } = this;
    const some = data.lastEpoch > 0;
    const low = some ? Math.floor(data.lowest * 20) / 20 : 0;
    const high = some ? Math.max(low + 0.1, Math.ceil(data.highest * 20 + 0.2) / 20) : 1;
    const epochs = Math.max(2, this.epochs, data.lastEpoch);
    const alpha = data.curves.size < 100 ? 0.75 : data.curves.size < 300 ? 0.4 : data.curves.size < 700 ? 0.2 : 0.12;
    const key = [width, height, low, high, epochs, alpha, this.run, window.devicePixelRatio].join();
    if (this.palette && key === this.key) return;
    this.key = key;
    this.palette = colours();
    this.alpha = alpha;
    const box = {
      left: MARGIN.left, top: MARGIN.top, right: width - MARGIN.right, bottom: height - MARGIN.bottom,
    };
    this.plot = {
      box, low, high, epochs,
      x: (epoch) => box.left + (epoch - 1) / (epochs - 1) * (box.right - box.left),
      y: (f1) => box.bottom - (f1 - low) / (high - low) * (box.bottom - box.top),
      xs: ticks(1, epochs, Math.min(10, width / 70)).filter((tick) => Number.isInteger(tick)),
      ys: ticks(low, high, 6),
      xTitle: "epoch",
      yText: (value) => value.toFixed(2),
    };
    this.ratio = sharpen(this.back, width, height);
    const context = this.back.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    drawAxes(context, this.plot, this.palette);
    this.drawn = new Map();
    this.fresh = true;
  }

  /** Add ended trials to the picture for a few milliseconds; return whether none is left. */
  drawEnded() {
    const context = this.back.getContext("2d");
    const until = performance.now() + SLICE_MS;
    for (const curve of this.data.curves.values()) {
      if (curve.running || !curve.last || !this.shown(curve)) continue;
      if (this.drawn.get(curve) === curve.last) continue;
      if (performance.now() > until) return false;
      context.globalAlpha = this.alpha;
      this.line(context, curve, this.palette.baseline, 1);
      context.globalAlpha = Math.min(1, 1.4 * this.alpha);
      this.line(context, curve, this.palette.shade, 1, true);
      context.globalAlpha = 1;
      this.drawn.set(curve, curve.last);
      this.fresh = true;
    }
    return true;
  }

  drawLive() {
    const { palette, plot } = this;
    const context = this.over.getContext("2d");
    const ratio = sharpen(this.over, plot.box.right + MARGIN.right, HEIGHT);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.over.width, this.over.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const { steps } = this.best();
    const chosen = this.data.curves.get(this.chosen);
    const subject = this.hovered ?? (chosen && this.shown(chosen) ? chosen : null);
    if (subject) this.bands(context, subject);
    for (const curve of this.data.curves.values()) {
      if (!curve.running || !curve.last || !this.shown(curve)) continue;
      this.line(context, curve, palette.good, 1.5);
      this.line(context, curve, palette.shade, 1.5, true);
    }
    if (steps.length) {
      const [, f1, curve] = steps[steps.length - 1];
      this.line(context, curve, palette.dynamic, 1.5);
      const y = Math.round(plot.y(f1)) + 0.5;
      context.strokeStyle = palette.dynamic;
      context.lineWidth = 1.5;
      context.setLineDash([6, 4]);
      context.beginPath();
      context.moveTo(plot.box.left, y);
      context.lineTo(plot.box.right, y);
      context.stroke();
      context.setLineDash([]);
      const below = y < plot.box.top + 14 ? 12 : -10;
      drawLabel(context, `best ${format.score(f1)}, trial ${curve.number}`, plot.box.left + 8, y + below,
        palette.dynamic, palette);
    }
    if (chosen && this.shown(chosen)) this.highlight(context, chosen, palette.periodic);
    if (this.hovered && this.hovered !== chosen) this.highlight(context, this.hovered, palette.ink);
  }

  best() {
    const count = this.data.order.length;
    const states = this.data.version;
    if (this.bestOf?.count !== count || this.bestOf.states !== states || this.bestOf.run !== this.run) {
      this.bestOf = { ...this.data.best(this.run), count, states, run: this.run };
    }
    return this.bestOf;
  }

  /** Stroke a curve, or only the parts that lead to injected epochs. */
  line(context, curve, colour, width, injectedOnly = false) {
    const { x, y } = this.plot;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.beginPath();
    let before = NaN;
    for (let epoch = 1; epoch <= curve.last; epoch += 1) {
      const f1 = curve.f1[epoch - 1];
      const skip = injectedOnly && !curve.injected[epoch - 1];
      if (!Number.isNaN(f1) && !skip) {
        if (injectedOnly || Number.isNaN(before)) {
          const alone = Number.isNaN(before);
          context.moveTo(x(alone ? epoch : epoch - 1) - (alone ? 1.5 : 0), y(alone ? f1 : before));
        }
        context.lineTo(x(epoch), y(f1));
      }
      before = f1;
    }
    context.stroke();
  }

  /** Shade the injected epochs of one trial, as its report does. */
  bands(context, curve) {
    const { x, box } = this.plot;
    context.fillStyle = this.palette.shade;
    for (let epoch = 1; epoch <= curve.last; epoch += 1) {
      const share = curve.injected[epoch - 1] / 255;
      if (!share) continue;
      context.globalAlpha = 0.08 + 0.22 * share;
      const left = Math.max(box.left, x(epoch - 0.5));
      context.fillRect(left, box.top, Math.min(box.right, x(epoch + 0.5)) - left, box.bottom - box.top);
    }
    context.globalAlpha = 1;
  }

  highlight(context, curve, colour) {
    const { x, y } = this.plot;
    this.line(context, curve, this.palette.page, 5);
    this.line(context, curve, colour, 2.5);
    context.fillStyle = colour;
    for (let epoch = 1; epoch <= curve.last; epoch += 1) {
      const f1 = curve.f1[epoch - 1];
      if (Number.isNaN(f1)) continue;
      context.beginPath();
      context.arc(x(epoch), y(f1), epoch === this.hoveredEpoch && curve === this.hovered ? 5 : 2.2, 0, 7);
      context.fill();
    }
  }

  /** Find the curve under the pointer. */
  hover(event) {
    if (!this.plot) return;
    const rect = this.over.getBoundingClientRect();
    const [px, py] = [event.clientX - rect.left, event.clientY - rect.top];
    const { box, epochs, x, y } = this.plot;
    const at = 1 + (px - box.left) / (box.right - box.left) * (epochs - 1);
    const epoch = Math.min(epochs, Math.max(1, Math.round(at)));
    let [found, nearest] = [null, NEAR_PX];
    if (Math.abs(px - x(epoch)) < Math.max(NEAR_PX, (box.right - box.left) / epochs)) {
      for (const curve of this.data.curves.values()) {
        if (!this.shown(curve) || epoch > curve.last) continue;
        const far = Math.abs(y(curve.f1[epoch - 1]) - py);
        if (far < nearest) [found, nearest] = [curve, far];
      }
    }
    this.setHovered(found, found ? epoch : 0);
  }

  /** Say in words what is under the pointer, or else which trial is chosen. */
  read() {
    const curve = this.hovered ?? this.data.curves.get(this.chosen);
    if (!curve) {
      setText(this.readout, "Point at a curve to read it; choose a trial here or in the table to keep it.");
      return;
    }
    const epoch = this.hovered ? this.hoveredEpoch : curve.last;
    const f1 = curve.f1[epoch - 1];
    const injected = curve.injected[epoch - 1] / 255;
    setText(this.readout, [
      `Trial ${curve.number}`, curve.state ?? "", epoch ? `epoch ${epoch}` : "no epoch yet",
      epoch ? `validation F1 ${format.score(f1)}` : "",
      injected ? `injected ${format.percent(injected)}` : epoch ? "not injected" : "",
    ].filter(Boolean).join(" · "));
  }

  /** Name the picture for people who do not see it. */
  describe() {
    const { trained, steps } = this.best();
    const last = steps[steps.length - 1];
    const text = last
      ? `Validation macro-F1 by epoch: ${format.counted(this.data.curves.size, "trial")},`
        + ` ${format.counted(trained, "epoch")}; best ${format.score(last[1])} by trial ${last[2].number}. The trial table and the table of the`
        + " chosen curve below hold the numbers."
      : "Validation macro-F1 by epoch: no epoch yet.";
    if (this.over.getAttribute("aria-label") !== text) this.over.setAttribute("aria-label", text);
    this.read();
  }
}
