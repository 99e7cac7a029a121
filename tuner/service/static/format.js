// How numbers, durations, times and states are written for people.

export const NONE = "–";

/** Return a macro-F1 or another score. */
export function score(value) {
  return value === null || value === undefined ? NONE : value.toFixed(4);
}

/** Return a number without needless digits; `most` counts those behind the point. */
export function number(value, most = 2) {
  if (value === null || value === undefined) return NONE;
  return value.toLocaleString("en", { maximumFractionDigits: most });
}

/** Return a count with its noun. */
export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Return hours; short ones with two digits that say something. */
export function hours(value) {
  return value > 0 && value < 1 ? String(Number(value.toPrecision(2))) : number(value);
}

/** Return a share as whole percent; it says 100 only when all is done. */
export function percent(share) {
  if (share === null || share === undefined) return NONE;
  return `${share >= 1 ? 100 : Math.min(99, Math.round(100 * share))} %`;
}

/** Return seconds as the two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const all = Math.round(minutes / 60);
  const days = Math.floor(all / 24);
  return all % 24 ? `${days} d ${all % 24} h` : `${days} d`;
}

/** Return a moment in the reader's zone: the time alone if it is today. */
export function moment(at, now = Date.now()) {
  if (at === null || at === undefined) return NONE;
  const date = new Date(1000 * at);
  const pad = (value) => String(value).padStart(2, "0");
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  if (date.toDateString() === new Date(now).toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}

/** Return how long something will still take and when it is due. */
export function due(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 60) return "under a minute";
  const at = new Date(Date.now() + 1000 * seconds);
  const time = `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
  const day = at.toDateString() === new Date().toDateString() ? "" : seconds < 6 * 86_400
    ? `${at.toLocaleDateString("en", { weekday: "short" })} ` : `${at.toLocaleDateString("en", { day: "numeric", month: "short" })} `;
  return `${duration(seconds)} (${day}${time})`;
}

/** Return a size in bytes. */
export function bytes(count) {
  if (count < 1e6) return `${number(count / 1e3, 0)} kB`;
  return count < 1e9 ? `${number(count / 1e6, 1)} MB` : `${number(count / 1e9, 1)} GB`;
}

/** Return a knob's value. */
export function knob(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** Return all knobs of a trial in one line. */
export function knobs(values) {
  return Object.entries(values).map(([name, value]) => `${name}=${knob(value)}`).join(" ");
}

/** Return what a job holds: GPUs, or cores where there are none. */
export function share(gpus, cpus) {
  if (gpus) return `${number(gpus)} ${gpus === 1 ? "GPU" : "GPUs"}`;
  return cpus ? `${cpus} ${cpus === 1 ? "core" : "cores"}` : NONE;
}
