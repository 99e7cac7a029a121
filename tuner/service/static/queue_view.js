// Who holds the GPUs, who waits in which order, and how one's own jobs do.

import { call } from "./api.js";
import { h, scrolling, setText, tableHead } from "./dom.js";
import * as format from "./format.js";
import { perFrame } from "./frames.js";
import { jobLink, progressBar, stateMark } from "./job_words.js";
import { Stream } from "./stream.js";

const SHOWN = 20;

export class QueueView {
  constructor(session) {
    this.title = "Queue";
    this.session = session;
    this.jobs = [];
    this.known = new Set();
    this.draw = perFrame(() => this.frame());
    this.notes = h("div", { class: "warnings", hidden: true });
    this.sum = h("p", { class: "claim" }, "Loading…");
    this.bar = h("div", { class: "gpu-bar", "aria-hidden": "true" });
    this.held = h("tbody");
    this.waiting = h("tbody");
    this.mine = h("tbody");
    this.heldTable = scrolling("Searches that hold resources", h("table", {},
      h("caption", {}, "Who holds them"),
      tableHead([["Job", null], ["User", null], ["Holds", "n"], ["Kind", null], ["State", null]]), this.held));
    this.waitTable = scrolling("Waiting searches", h("table", {},
      h("caption", {}, "In the order of their start"),
      tableHead([["Place", "n"], ["Job", null], ["User", null], ["Needs", "n"], ["Kind", null], ["Priority", "n"],
        ["Starts in", null]]), this.waiting));
    this.nobody = h("p", { class: "soft" }, "Nobody waits.");
    this.mineTable = scrolling("Jobs", h("table", {},
      h("caption", {}, session.admin ? "Jobs of all users, newest first" : "My jobs, newest first"),
      tableHead([["Job", null], session.admin ? ["User", null] : null, ["State", null], ["Progress", null], ["Best F1", "n"],
        ["Still to go", null], ["Submitted", null]].filter(Boolean)), this.mine));
    this.none = h("p", {}, "No job yet. ", h("a", { href: "#/submit" }, "Start a search"), ".");
    this.all = h("p", {}, h("a", { href: "#/runs" }, "All runs"));
    this.element = h("div", {}, h("h1", { tabindex: "-1" }, "Queue"), this.notes,
      h("section", { "aria-labelledby": "now-h" }, h("h2", { id: "now-h" }, "Now"), this.sum, this.bar, this.heldTable),
      h("section", { "aria-labelledby": "waiting-h" }, h("h2", { id: "waiting-h" }, "Waiting"), this.nobody, this.waitTable),
      h("section", { "aria-labelledby": "mine-h" }, h("h2", { id: "mine-h" }, session.admin ? "Jobs" : "My jobs"),
        this.none, this.mineTable, this.all));
  }

  async start() {
    [this.queue, this.jobs] = await Promise.all([call("GET", "/queue"), call("GET", "/jobs?limit=100")]);
    if (this.closed) return;
    this.frame();
    this.stream = new Stream(() => "/api/v1/events", {
      queue: (queue) => { this.queue = queue; this.draw(); },
      jobs: (jobs) => { this.jobs = jobs; this.draw(); },
    });
  }

  frame() {
    const { capacity, held, waiting, notes } = this.queue;
    this.known = new Set(this.jobs.map((job) => job.id));
    this.notes.hidden = !notes.length;
    fillList(this.notes, notes);
    this.showCapacity(capacity, held);
    this.heldTable.hidden = !held.length;
    fillRows(this.held, held.map((job) => [jobLink(job.id), job.user, format.share(job.gpus, job.cpus),
      job.exclusive ? "exclusive" : "shared", stateMark(job.state)]), [2]);
    this.nobody.hidden = waiting.length > 0;
    this.waitTable.hidden = !waiting.length;
    fillRows(this.waiting, waiting.map((job) => [String(job.position), jobLink(job.id), job.user,
      format.share(job.gpus, job.cpus), job.exclusive ? "exclusive" : "shared", String(job.priority),
      format.due(job.expected_start_s)]), [0, 3, 5]);
    this.none.hidden = this.jobs.length > 0;
    this.mineTable.hidden = !this.jobs.length;
    this.all.hidden = this.jobs.length <= SHOWN;
    fillRows(this.mine, this.jobs.slice(0, SHOWN).map((job) => [
      jobLink(job.id), ...(this.session.admin ? [job.user] : []), stateMark(job.state), progressBar(job.progress),
      format.score(job.progress?.best), remaining(job), format.moment(job.created_at),
    ]), [this.session.admin ? 4 : 3]);
  }

  showCapacity(capacity, held) {
    if (!capacity) {
      setText(this.sum, "The cluster does not answer: what it has is not known now.");
      this.bar.hidden = true;
      return;
    }
    const gpus = capacity.gpus > 0;
    const [all, unit] = gpus ? [capacity.gpus, "GPU"] : [capacity.cpus, "CPU core"];
    const used = held.reduce((sum, job) => sum + (gpus ? job.gpus : job.cpus ?? 0), 0);
    const names = [...new Set(capacity.gpu_names)].join(", ");
    setText(this.sum, `${format.number(used)} of ${format.number(all)} ${unit}${all === 1 ? "" : "s"} held`
      + `${gpus && names ? ` (${names})` : ""}${capacity.pretended ? "; the GPUs are pretended" : ""}.`);
    this.bar.hidden = all === 0;
    const parts = held.map((job) => {
      const part = h("span", { class: job.exclusive ? "exclusive" : "shared" }, job.id === format.NONE ? job.user : job.id);
      part.style.setProperty("flex-grow", String(gpus ? job.gpus : job.cpus ?? 0));
      return part;
    });
    const free = h("span", { class: "free" }, used < all ? "free" : "");
    free.style.setProperty("flex-grow", String(Math.max(0, all - used)));
    this.bar.replaceChildren(...parts, free);
  }

  close() {
    this.closed = true;
    this.stream?.close();
  }
}

function remaining(job) {
  if (job.state === "queued") return job.expected_start_s === null ? format.NONE : `starts in ${format.duration(job.expected_start_s)}`;
  return ["running", "starting"].includes(job.state) ? format.due(job.progress?.remaining_seconds) : format.NONE;
}

function fillList(place, texts) {
  if ([...place.children].map((child) => child.textContent).join("\n") === texts.join("\n")) return;
  place.replaceChildren(...texts.map((text) => h("p", {}, text)));
}

/** Fill a table's body, touching only cells that differ, so that focus and selection stay. */
function fillRows(body, rows, numeric) {
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((cells, at) => {
    let row = body.rows[at];
    if (!row) {
      row = h("tr", {}, cells.map((_, index) => (index === 0 && !numeric.includes(0) ? h("th", { scope: "row" })
        : h("td", { class: numeric.includes(index) ? "n" : null }))));
      body.append(row);
    }
    cells.forEach((value, index) => {
      const cell = row.cells[index];
      if (!(value instanceof Node)) setText(cell, value);
      else if (cell.childNodes.length !== 1 || !cell.firstChild.isEqualNode(value)) cell.replaceChildren(value);
    });
  });
}
