// The epochs of all trials of a job, kept in typed arrays: 1000 trials of 60 epochs are 0.5 MB.
//
// A point that comes twice replaces itself, so that a stream may tell an epoch again after a
// reconnect without doubling it.

/** States whose scores do not count. */
const FAILED = new Set(["crashed", "diverged"]);

/** The name of a trial across the runs of a study. */
export function trialKey(run, number) {
  return `${run}\n${number}`;
}

/** One trial's epochs; index 0 is epoch 1. */
class Curve {
  constructor(key, run, number) {
    this.key = key;
    this.run = run;
    this.number = number;
    this.f1 = new Float32Array(16).fill(NaN);
    this.injected = new Uint8Array(16);
    this.last = 0;
    this.state = null;
  }

  put(epoch, f1, share) {
    while (epoch > this.f1.length) this.grow();
    const known = !Number.isNaN(this.f1[epoch - 1]);
    this.f1[epoch - 1] = f1;
    this.injected[epoch - 1] = Math.round(255 * share);
    this.last = Math.max(this.last, epoch);
    return !known;
  }

  grow() {
    const f1 = new Float32Array(2 * this.f1.length).fill(NaN);
    const injected = new Uint8Array(2 * this.f1.length);
    f1.set(this.f1);
    injected.set(this.injected);
    this.f1 = f1;
    this.injected = injected;
  }

  get running() {
    return this.state === null || this.state === "running" || this.state === "waiting";
  }

  get failed() {
    return FAILED.has(this.state);
  }
}

export class CurveData {
  constructor() {
    /** @type {Map<string, Curve>} */
    this.curves = new Map();
    /** Every epoch in the order of recording, as [curve, F1]: what best-so-far is made of. */
    this.order = [];
    this.lowest = Infinity;
    this.highest = -Infinity;
    this.lastEpoch = 0;
    /** Rises with every change of a state. */
    this.version = 0;
  }

  curve(run, number) {
    const key = trialKey(run, number);
    let found = this.curves.get(key);
    if (!found) {
      found = new Curve(key, run, number);
      this.curves.set(key, found);
    }
    return found;
  }

  /** Add epochs as the service tells them. */
  add(points) {
    for (const point of points) {
      const curve = this.curve(point.run, point.trial);
      if (curve.put(point.epoch, point.val_f1, point.injected_share)) {
        this.order.push([curve, point.val_f1]);
      }
      this.lowest = Math.min(this.lowest, point.val_f1);
      this.highest = Math.max(this.highest, point.val_f1);
      this.lastEpoch = Math.max(this.lastEpoch, point.epoch);
    }
  }

  /** Take over the states of trials, by rows of the service. */
  states(rows) {
    for (const row of rows) this.curve(row.run, row.number).state = row.state;
    this.version += 1;
  }

  /**
   * Return the steps of the best validation F1 so far: [epochs trained, F1, curve], of one run or
   * of all. Trials that crashed or diverged do not count.
   */
  best(run = null) {
    const steps = [];
    let trained = 0;
    let best = -Infinity;
    for (const [curve, f1] of this.order) {
      if (run !== null && curve.run !== run) continue;
      trained += 1;
      if (f1 > best && !curve.failed) {
        best = f1;
        steps.push([trained, f1, curve]);
      }
    }
    return { trained, steps };
  }
}
