// One search, live: its state and cost, curves, trials and log; and what can be done with it.

import { call, jobPath } from "./api.js";
import { BestChart } from "./best_chart.js";
import { CurveChart } from "./curve_chart.js";
import { CurveData } from "./curve_data.js";
import { announce, h, newId, scrolling, setText, tableHead } from "./dom.js";
import * as format from "./format.js";
import { perFrame } from "./frames.js";
import { JobActions } from "./job_actions.js";
import { costs, fillFacts, progressBar, stateMark, trialsText } from "./job_words.js";
import { LogTail } from "./log_tail.js";
import { Stream } from "./stream.js";
import { TrialDetails } from "./trial_details.js";
import { TrialTable } from "./trial_table.js";

const TAIL_BYTES = 65_536;
const NO_CURSOR = "0";
const ENDED = new Set(["finished", "failed", "stopped"]);

export class JobView {
  constructor(id) {
    this.id = id;
    this.title = id;
    this.cursors = { trials: NO_CURSOR, curves: NO_CURSOR };
    this.data = new CurveData();
    this.chart = new CurveChart(this.data, (key) => this.choose(key === this.chosen ? null : key, true));
    this.best = new BestChart(() => this.chart.best());
    this.table = new TrialTable((key) => this.choose(key));
    this.details = new TrialDetails((key) => this.table.rows.get(key), this.data);
    this.log = new LogTail();
    this.actions = new JobActions((job) => this.show(job));
    this.pending = perFrame(() => this.drawn());
    this.build();
  }

  build() {
    const run = newId("run");
    this.state = h("p", { class: "claim" });
    this.facts = h("dl", { class: "facts" });
    this.links = h("p", { class: "links" });
    this.costBody = h("tbody");
    this.costs = scrolling("Cost against budget", h("table", {},
      h("caption", {}, "Cost against budget"),
      tableHead([["", null], ["Spent", "n"], ["Budget", "n"], ["Share", null]]), this.costBody));
    this.costs.hidden = true;
    this.run = h("select", { id: run, onchange: () => this.chooseRun() }, h("option", { value: "" }, "all"));
    this.runChoice = h("p", { class: "filters", hidden: true }, h("label", { for: run }, "Run of the study"), this.run);
    this.loading = h("p", { class: "soft", role: "status" }, "Loading the curves…");
    this.none = h("p", { class: "soft", hidden: true });
    this.curves = h("div", { hidden: true }, this.runChoice,
      h("h3", {}, "Validation macro-F1 by epoch"), this.chart.element, this.details.element,
      h("h3", {}, "Best so far"), this.best.element);
    this.trials = h("section", { "aria-labelledby": "trials-h", hidden: true }, h("h2", { id: "trials-h" }, "Trials"), this.table.element);
    this.element = h("div", {},
      h("h1", { tabindex: "-1" }, this.id), this.state, this.actions.element, this.links,
      h("div", { class: "two" }, this.facts, this.costs),
      h("section", { "aria-labelledby": "curves-h" }, h("h2", { id: "curves-h" }, "Curves"), this.loading, this.none, this.curves),
      this.trials,
      h("section", { "aria-labelledby": "log-h" }, h("h2", { id: "log-h" }, "Log"), this.log.element));
  }

  /** Load what there is, then follow what changes. */
  async start() {
    this.show(await call("GET", jobPath(this.id)));
    await this.loadTrials();
    await this.loadCurves();
    this.log.add(await call("GET", jobPath(this.id, `/log?offset=-${TAIL_BYTES}&limit=${TAIL_BYTES}`)));
    this.loading.remove();
    this.none.hidden = this.table.rows.size > 0;
    if (this.closed) return;
    this.stream = new Stream(() => this.address(), {
      job: (job) => this.show(job),
      trials: (trials) => this.takeTrials(trials),
      curves: (curves) => this.takeCurves(curves),
      log: (part) => this.log.add(part),
    });
  }

  async loadTrials() {
    this.takeTrials(await call("GET", jobPath(this.id, `/trials?after_change=${encodeURIComponent(this.cursors.trials)}`)));
  }

  async loadCurves() {
    let more = true;
    while (more && !this.closed) {
      const found = await call("GET", jobPath(this.id, `/curves?after_change=${encodeURIComponent(this.cursors.curves)}`));
      this.takeCurves(found);
      more = found.more;
    }
  }

  address() {
    const query = new URLSearchParams({ ...this.cursors, log: String(this.log.offset) });
    return `/api/v1${jobPath(this.id, `/events?${query}`)}`;
  }

  takeTrials(trials) {
    this.cursors.trials = trials.cursor;
    if (!trials.rows.length) return;
    this.data.states(trials.rows);
    this.table.update(trials.rows);
    this.pending();
  }

  takeCurves(curves) {
    this.cursors.curves = curves.cursor;
    if (!curves.points.length) return;
    this.data.add(curves.points);
    this.pending();
  }

  /** Draw what has arrived, once per frame. */
  drawn() {
    this.none.hidden = true;
    this.curves.hidden = false;
    this.trials.hidden = false;
    this.chart.draw();
    this.chart.describe();
    this.best.draw();
    this.details.draw();
    const runs = this.table.runs;
    if (runs.size > 1 && this.run.options.length !== runs.size + 1) {
      const before = this.run.value;
      this.run.replaceChildren(h("option", { value: "" }, "all"), ...[...runs].map((name) => h("option", { value: name }, name)));
      this.run.value = before;
      this.runChoice.hidden = false;
    }
  }

  choose(key, reveal = false) {
    this.chosen = key;
    this.chart.setChosen(key);
    this.details.setChosen(key);
    this.table.setChosen(key, reveal);
  }

  chooseRun() {
    const run = this.run.value || null;
    this.chart.setRun(run);
    this.chart.describe();
    this.best.draw();
    this.table.setRun(run);
  }

  show(job) {
    if (this.job && this.job.state !== job.state) announce(`${job.id} is ${job.state}${job.reason ? `: ${job.reason}` : ""}.`);
    this.job = job;
    const { progress } = job;
    this.chart.epochs = job.epochs ?? 1;
    this.chart.draw();
    setText(this.none, ENDED.has(job.state) ? "No epoch was trained." : "No epoch yet; curves appear here as soon as there is one.");
    const claim = h("span", {}, stateMark(job.state), claimRest(job));
    if (!this.state.firstChild?.isEqualNode(claim)) this.state.replaceChildren(claim);
    this.actions.show(job);
    fillFacts(this.facts, [
      ["Best so far", progress?.best != null ? `${format.score(progress.best)} (trial ${progress.best_trial})` : format.NONE],
      ["Progress", progress?.share_done != null ? progressBar(progress) : null],
      ["Stage", progress?.stage ?? null],
      ["Still to go", ["running", "starting"].includes(job.state) ? format.due(progress?.remaining_seconds) : null],
      ["Trials", trialsText(progress)],
      ["Starts in", job.state === "queued" ? format.due(job.expected_start_s) : null],
      ["User", job.user],
      ["Space", job.space],
      ["Holds", `${format.share(job.gpus, job.cpus)}, ${job.exclusive ? "exclusive" : "shared"}`],
      ["Submitted", format.moment(job.created_at)],
      ["Started", job.started_at === null ? null : `${format.moment(job.started_at)}${job.attempt > 1 ? `, attempt ${job.attempt}` : ""}`],
      ["Ended", job.ended_at === null ? null : format.moment(job.ended_at)],
      ["Digest", h("code", { title: job.digest }, job.digest.slice(0, 12))],
    ]);
    this.showCosts(job);
    this.showLinks(job);
  }

  showCosts(job) {
    const rows = costs(job);
    this.costs.hidden = !rows.length;
    while (this.costBody.rows.length < rows.length) {
      this.costBody.append(h("tr", {}, h("th", { scope: "row" }), h("td", { class: "n" }), h("td", { class: "n" }),
        h("td", { class: "share" })));
    }
    rows.forEach(([name, spent, budget, text], index) => {
      const [what, done, most, share] = this.costBody.rows[index].cells;
      setText(what, name);
      setText(done, text(spent));
      setText(most, job.kind === "study" ? "by its plan" : budget === null ? "no limit" : text(budget));
      if (budget === null) setText(share, "");
      else if (share.firstChild?.tagName === "PROGRESS") {
        share.firstChild.value = spent / budget;
        setText(share.lastChild, format.percent(spent / budget));
      } else {
        share.replaceChildren(h("progress", { max: 1, value: spent / budget, "aria-label": `${name} spent` }),
          h("span", {}, format.percent(spent / budget)));
      }
    });
  }

  showLinks(job) {
    const outside = { target: "_blank", rel: "noopener" };
    const links = Object.entries(job.progress ? job.links : {}).filter(([, url]) => /^(https?:|\/)/.test(url))
      .map(([name, url]) => h("a", { href: url, ...outside }, name));
    if (job.progress?.epochs) {
      links.unshift(h("a", { href: `/api/v1${jobPath(job.id, "/report")}`, ...outside },
        job.state === "finished" ? "Report" : "Report of what there is so far"));
    }
    const shown = h("span", {}, links.flatMap((link, index) => (index ? [" · ", link] : [link])),
      links.length ? h("span", { class: "soft" }, links.length > 1 ? " (each opens a new tab)" : " (opens a new tab)") : null);
    if (!this.links.firstChild?.isEqualNode(shown)) this.links.replaceChildren(shown);
    this.links.hidden = !links.length;
  }

  close() {
    this.closed = true;
    this.stream?.close();
    this.chart.close();
    this.best.close();
  }
}

/** Return what follows the state in a job's first sentence. */
function claimRest(job) {
  const parts = [];
  if (job.state === "queued" && job.position) parts.push(`number ${job.position} in the queue`);
  if (job.state === "stopping" || job.state === "pausing") parts.push("running epochs end first");
  if (job.reason) parts.push(job.reason);
  return parts.length ? ` – ${parts.join("; ")}` : "";
}
