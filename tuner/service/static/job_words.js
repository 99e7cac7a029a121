// How a job's state, progress and cost are shown, wherever a job appears.

import { h, setText } from "./dom.js";
import * as format from "./format.js";

/** Return a state with its mark. */
export function stateMark(state) {
  return h("span", { class: `job-state ${state}` }, state);
}

/** Return the address of a job's view. */
export function jobAddress(id) {
  return `#/jobs/${encodeURIComponent(id)}`;
}

/** Return a link to a job, or a dash for another user's. */
export function jobLink(id) {
  return id === format.NONE ? format.NONE : h("a", { href: jobAddress(id) }, id);
}

/** Return how many trials have been reached, by state, in words. */
export function trialsText(progress) {
  if (!progress) return format.NONE;
  const parts = Object.entries(progress.trials).filter(([, count]) => count)
    .map(([state, count]) => `${format.number(count)} ${state}`);
  return parts.join(", ") || "none yet";
}

/** Return a bar of how much of the budget is spent or of a study is done, with the share in words. */
export function progressBar(progress) {
  if (!progress || progress.share_done === null) return format.NONE;
  const text = format.percent(progress.share_done);
  return h("span", { class: "share" },
    h("progress", { max: 1, value: progress.share_done, "aria-label": `${text} done` }),
    h("span", {}, text));
}

/** Return what a job's trials held, in hours: [what, hours] for each kind of device, as no sum says anything. */
export function slotHours(job) {
  const what = job.gpus ? "GPU-hours" : "Core-hours";
  const { slot_seconds: all, slot_seconds_by_device: kinds } = job.progress;
  if (all !== null) return [[what, all / 3600]];
  return Object.entries(kinds).map(([device, seconds]) => [`${what} on ${device}`, seconds / 3600]);
}

/** Return them for a table's cell. */
export function slotText(job) {
  if (!job.progress) return format.NONE;
  const kinds = slotHours(job);
  return kinds.map(([what, hours]) => (kinds.length > 1 ? `${format.hours(hours)} ${what.replace(/^.*? on /, "")}` : format.hours(hours))).join(", ");
}

const OPEN = new Set(["waiting", "running"]);

/** Return what a job spends and may spend: [what, spent, budget or null for no limit, how to write it]. */
export function costs(job) {
  const { progress, budget } = job;
  if (!progress) return [];
  const ended = Object.entries(progress.trials).reduce((sum, [state, count]) => sum + (OPEN.has(state) ? 0 : count), 0);
  return [
    ["Trials ended", ended, budget.trials ?? null, format.number],
    ["Epochs", progress.epochs, budget.epochs ?? null, format.number],
    ...slotHours(job).map(([what, hours]) => [what, hours, budget.gpu_hours ?? null, format.hours]),
    ["Hours", progress.wall_seconds / 3600, budget.wall_hours ?? null, format.hours],
  ];
}

/** Fill a description list, keeping what has not changed. */
export function fillFacts(list, facts) {
  const shown = facts.filter(([, value]) => value !== null);
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach(([name, value], index) => {
    let row = list.children[index];
    if (!row) {
      row = h("div", {}, h("dt"), h("dd"));
      list.append(row);
    }
    setText(row.firstChild, name);
    const place = row.lastChild;
    if (value instanceof Node) {
      if (!place.firstChild?.isEqualNode(value)) place.replaceChildren(value);
    } else if (place.firstChild?.nodeType === Node.ELEMENT_NODE || place.textContent !== value) {
      place.replaceChildren(value);
    }
  });
}
