// All runs that have a record, to open their reports or compare several.

import { call, jobPath } from "./api.js";
import { announce, h, newId, scrolling, tableHead } from "./dom.js";
import * as format from "./format.js";
import { jobLink, slotText, stateMark, trialsText } from "./job_words.js";

const MOST = 500;

export class RunsView {
  constructor(session) {
    this.title = "Runs";
    this.session = session;
    this.jobs = [];
    this.chosen = new Set();
    const [state, words] = [newId("state"), newId("words")];
    this.state = h("select", { id: state, onchange: () => this.frame() },
      h("option", { value: "finished" }, "finished"), h("option", { value: "ended" }, "finished, stopped, paused or failed"),
      h("option", { value: "" }, "all"));
    this.words = h("input", { id: words, type: "search", size: 14, oninput: () => this.frame() });
    this.count = h("span", { class: "soft" });
    this.compare = h("button", { type: "button", class: "primary", onclick: () => this.make() }, "Compare");
    this.hint = h("span", { class: "soft" }, "Choose two runs or more to compare them in one report.");
    this.result = h("p", { role: "status" });
    this.error = h("p", { class: "error", role: "alert" });
    this.body = h("tbody", { onchange: (event) => this.toggle(event) });
    this.element = h("div", {}, h("h1", { tabindex: "-1" }, "Runs"),
      h("div", { class: "filters" }, h("label", { for: state }, "State"), this.state,
        h("label", { for: words }, "Containing"), this.words, this.count),
      h("p", { class: "buttons" }, this.compare, this.hint), this.result, this.error,
      scrolling("Runs", h("table", {}, h("caption", {}, "Runs, newest first"),
        tableHead([["Compare", null], ["Run", null], ["User", null], ["Space", null], ["State", null], ["Trials", null],
          ["Best F1", "n"], ["Slot-hours", "n"], ["Ended", null], ["Report", null]]), this.body)));
  }

  async start() {
    this.jobs = await call("GET", `/jobs?limit=${MOST}`);
    if (!this.jobs.some((job) => job.state === "finished")) this.state.value = "";
    this.frame();
  }

  frame() {
    const words = this.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = {
      finished: (job) => job.state === "finished",
      ended: (job) => ["finished", "stopped", "paused", "failed"].includes(job.state),
      "": () => true,
    }[this.state.value];
    const shown = this.jobs.filter((job) => fits(job) && words.every((word) =>
      `${job.id} ${job.user} ${job.space ?? "study"}`.toLowerCase().includes(word)));
    this.body.replaceChildren(...shown.map((job) => this.row(job)));
    if (!shown.length) this.body.append(h("tr", {}, h("td", { colspan: 10 }, "No such run.")));
    this.count.textContent = `${shown.length} of ${this.jobs.length} runs`;
    this.chosenChanged();
  }

  row(job) {
    const trained = Boolean(job.progress?.epochs);
    return h("tr", {},
      h("td", {}, h("input", {
        type: "checkbox", value: job.id, checked: this.chosen.has(job.id), disabled: !trained,
        "aria-label": `Compare ${job.id}`,
      })),
      h("th", { scope: "row" }, jobLink(job.id)), h("td", {}, job.user), h("td", {}, job.space ?? "study"),
      h("td", {}, stateMark(job.state)), h("td", {}, trialsText(job.progress)),
      h("td", { class: "n" }, format.score(job.progress?.best)),
      h("td", { class: "n" }, slotText(job)),
      h("td", {}, format.moment(job.ended_at)),
      h("td", {}, trained ? h("a", {
        href: `/api/v1${jobPath(job.id, "/report")}`, target: "_blank", rel: "noopener", "aria-label": `Report of ${job.id} (opens a new tab)`,
      }, "Report") : format.NONE));
  }

  toggle(event) {
    if (event.target.checked) this.chosen.add(event.target.value);
    else this.chosen.delete(event.target.value);
    this.chosenChanged();
  }

  chosenChanged() {
    const count = this.chosen.size;
    this.compare.disabled = count < 2;
    this.compare.textContent = count < 2 ? "Compare" : `Compare ${count} runs`;
    this.hint.hidden = count >= 2;
  }

  async make() {
    this.error.textContent = "";
    this.result.textContent = "Making the report…";
    this.compare.disabled = true;
    const jobs = this.jobs.map((job) => job.id).filter((id) => this.chosen.has(id));
    try {
      const { url } = await call("POST", "/compare", { jobs });
      const link = h("a", { href: url, target: "_blank", rel: "noopener" }, `Comparison of ${jobs.join(", ")}`);
      this.result.replaceChildren("Ready: ", link, h("span", { class: "soft" }, " (opens a new tab)"));
      link.focus();
      announce("The comparison is ready.");
    } catch (error) {
      this.result.textContent = "";
      this.error.textContent = error.message;
    } finally {
      this.chosenChanged();
    }
  }

  close() {}
}
