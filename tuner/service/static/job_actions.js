// Stop, pause and resume a job: which of them its state allows, and what to ask before.

import { ApiError, call, jobPath } from "./api.js";
import { ask } from "./dialog.js";
import { announce, h, newId } from "./dom.js";

/** What a state allows; `lost` asks before. */
const ACTIONS = {
  pause: {
    label: "Pause", states: ["queued", "starting", "running"],
    done: "It pauses once the running epochs have ended; its GPUs are then free for others.",
  },
  stop: {
    label: "Stop", states: ["queued", "starting", "running", "paused"],
    done: "It stops once the running epochs have ended; it can be resumed.",
    lost: (job) => (job.state === "queued" ? {
      title: `Take ${job.id} out of the queue?`, text: "It loses its place; resuming queues it anew.",
      confirm: "Take it out",
    } : null),
  },
  stop_now: {
    label: "Stop now", states: ["starting", "running", "pausing", "stopping"], danger: true,
    done: "It is stopped at once.",
    lost: (job) => ({
      title: `Stop ${job.id} at once?`,
      text: "The epochs under way are lost and trained again if it is resumed. Stop, without “now”, waits for them.",
      confirm: "Stop now", danger: true,
    }),
  },
  resume: { label: "Resume…", states: ["paused", "stopped", "failed", "finished"], primary: true, done: "It is queued again." },
};

const RAISES = [
  ["more_trials", "More trials", 1],
  ["more_epochs", "More epochs, over all trials", 1],
  ["more_gpu_hours", "More GPU-hours (core-hours without GPUs)", "any"],
  ["more_wall_hours", "More hours", "any"],
];

/** Ask what a job may spend beyond its budget; return the body of the request, or null. */
async function askRaise(job) {
  const spent = job.state === "finished";
  const fields = RAISES.map(function ([name, label, step]) {
    const id = newId("raise");
    return h("p", { class: "field" }, h("label", { for: id }, label),
      h("input", { id, name, type: "number", min: step === 1 ? 1 : 0.01, step, inputmode: "decimal" }));
  });
  const data = await ask({
    title: `Resume ${job.id}?`,
    text: spent ? "It has spent its budget: say how much more it may spend."
      : "It goes on from its last finished epochs, once there is room. Raise its budget if you like.",
    confirm: "Resume", fields,
  });
  if (!data) return null;
  const more = {};
  for (const [name] of RAISES) {
    const text = data.get(name);
    if (text) more[name] = Number(text);
  }
  return more;
}

export class JobActions {
  /** @param {(job: object) => void} changed  Takes the job as the service answers it. */
  constructor(changed) {
    this.changed = changed;
    this.error = h("p", { class: "error", role: "alert" });
    this.row = h("p", { class: "buttons", role: "group", "aria-label": "Actions", hidden: true });
    this.buttons = Object.entries(ACTIONS).map(([name, action]) => {
      const button = h("button", {
        type: "button", class: action.danger ? "danger" : action.primary ? "primary" : null,
        onclick: () => this.act(name),
      }, action.label);
      this.row.append(button);
      return [action, button];
    });
    this.element = h("div", {}, this.row, this.error);
  }

  show(job) {
    this.job = job;
    for (const [action, button] of this.buttons) {
      const allowed = action.states.includes(job.state);
      if (!allowed && document.activeElement === button) this.row.closest("main")?.querySelector("h1")?.focus();
      button.hidden = !allowed;
    }
    this.row.hidden = this.buttons.every(([, button]) => button.hidden);
  }

  async act(name) {
    const action = ACTIONS[name];
    this.error.textContent = "";
    const question = action.lost?.(this.job);
    if (question && !await ask(question)) return;
    const more = name === "resume" ? await askRaise(this.job) : undefined;
    if (more === null) return;
    const path = { pause: "/pause", stop: "/stop", stop_now: "/stop?now=true", resume: "/resume" }[name];
    this.disable(true);
    try {
      this.changed(await call("POST", jobPath(this.job.id, path), more));
      announce(action.done);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.textContent = error.message;
    } finally {
      this.disable(false);
    }
  }

  disable(busy) {
    for (const [, button] of this.buttons) button.disabled = busy;
  }
}
