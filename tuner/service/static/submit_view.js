// A form for a new search: what people usually set; the service builds the specification from it.

import { call } from "./api.js";
import { announce, h } from "./dom.js";
import * as format from "./format.js";
import { jobAddress } from "./job_words.js";
import { KnobTable } from "./knob_table.js";

const SETTLE_MS = 400;
const PRESET_HELP = {
  quick: "a slim network and few epochs: minutes on two cores",
  fer2013: "48 px, grey, the full network",
  paper: "224 px, the paper's network and training",
};

/** Fields that become flags: [path, label, type, help]; empty ones keep the preset's value. */
const BUDGET = [
  ["budget.trials", "Trials", "whole"], ["epochs", "Epochs of a trial", "whole"],
  ["budget.gpu_hours", "GPU-hours", "any", "core-hours without GPUs"], ["budget.wall_hours", "Hours", "any"],
];
const METHOD = [
  ["sampler.name", "Sampler", ["tpe", "random", "gp", "cmaes", "grid", "sobol"]],
  ["scheduler.name", "Early stopping", ["asha", "median", "none"]],
  ["scheduler.audit", "Share never stopped", "share", "0 to 1, to see what stopping costs"],
  ["seeds", "Seeds", "seeds", "fresh, fixed, or how many for each configuration"],
  ["seed", "Seed of the run", "whole0"],
];
const RESOURCES = [
  ["resources.concurrency", "Trials at once", "whole", "empty: as many as fit"],
  ["resources.gpus_per_trial", "GPUs for a trial", "share", "must divide 1: 1, 0.5, 0.25"],
];

export class SubmitView {
  constructor() {
    this.title = "New search";
    this.controls = new Map();
    this.knobs = new KnobTable(() => this.changed());
    this.error = h("p", { class: "error", role: "alert" });
    this.plan = h("p", { role: "status" });
    this.element = h("div", {}, h("h1", { tabindex: "-1" }, "New search"), h("p", { class: "soft" }, "Loading…"));
  }

  async start() {
    [this.server, this.dataSets] = await Promise.all([call("GET", "/server"), call("GET", "/datasets")]);
    this.build();
    await this.rebuild();
  }

  build() {
    const { spaces, presets } = this.server;
    const some = (value, values) => (values.includes(value) ? value : values[0]);
    const form = h("form", { onsubmit: (event) => this.submit(event), oninput: (event) => this.input(event), novalidate: true },
      h("fieldset", {}, h("legend", {}, "What"),
        this.select("space", "Search space", spaces, some("periodic_T", spaces), "what varies stands below"),
        this.select("preset", "Preset", presets, some("quick", presets), PRESET_HELP[some("quick", presets)] ?? ""),
        this.select("data", "Data", ["synthetic", ...this.dataSets.map((set) => set.fingerprint)], "synthetic",
          this.dataSets.length ? "" : "more with tuner data push", (value) => this.dataText(value)),
        this.text("name", "Name", "text", "empty: the server chooses", { pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,99}" })),
      this.knobs.element,
      h("fieldset", {}, h("legend", {}, "How much"), BUDGET.map((field) => this.field(...field))),
      h("fieldset", {}, h("legend", {}, "How"), METHOD.map((field) => this.field(...field))),
      h("fieldset", {}, h("legend", {}, "On what"),
        this.text("gpus", "GPUs to hold", "any", "empty: what its trials at once need"),
        RESOURCES.map((field) => this.field(...field)),
        h("p", { class: "field check" }, this.control("exclusive", h("input", { id: "f-exclusive", type: "checkbox", checked: true })),
          h("label", { for: "f-exclusive" }, "Its GPUs are its own"),
          h("span", { class: "soft", id: "f-exclusive-help" }, "comparisons of cost need that"))),
      this.plan, this.error,
      h("p", { class: "buttons" },
        h("button", { type: "submit", class: "primary" }, "Submit"),
        h("button", { type: "button", onclick: () => this.check() }, "Check without submitting")));
    this.form = form;
    this.element.lastChild.replaceWith(form);
  }

  control(name, element) {
    this.controls.set(name, element);
    return element;
  }

  labelled(name, label, element, help) {
    const id = `f-${name.replace(".", "-")}`;
    element.id = id;
    if (help) element.setAttribute("aria-describedby", `${id}-help`);
    return h("p", { class: "field" }, h("label", { for: id }, label), this.control(name, element),
      help ? h("span", { class: "soft", id: `${id}-help` }, help) : null);
  }

  select(name, label, values, chosen, help = "", text = (value) => value) {
    return this.labelled(name, label, h("select", {}, values.map((value) =>
      h("option", { value, selected: value === chosen }, text(value)))), help);
  }

  text(name, label, kind, help = "", more = {}) {
    const numbers = {
      whole: { type: "number", min: 1, step: 1 }, whole0: { type: "number", min: 0, step: 1 },
      any: { type: "number", min: 0, step: "any" }, share: { type: "number", min: 0, max: 1, step: "any" },
    };
    return this.labelled(name, label, h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...numbers[kind], ...more }), help);
  }

  field(path, label, kind, help) {
    if (Array.isArray(kind)) return this.select(path, label, ["", ...kind], "", help, (value) => value || "as the preset says");
    return this.text(path, label, kind, help);
  }

  dataText(fingerprint) {
    const set = this.dataSets.find((one) => one.fingerprint === fingerprint);
    if (!set) return "synthetic faces";
    const images = Object.values(set.images).reduce((sum, count) => sum + count, 0);
    return `${set.name}: ${format.number(images)} images of ${set.size} px, ${set.classes.length} classes`;
  }

  /** Return what the service builds a specification from. */
  choices() {
    const flags = {};
    for (const [path] of [...BUDGET, ...METHOD, ...RESOURCES]) {
      const control = this.controls.get(path);
      const text = control.value.trim();
      if (!text) continue;
      const value = control.type === "number" || (path === "seeds" && /^\d+$/.test(text)) ? Number(text) : text;
      const [section, name] = path.split(".");
      if (name) flags[section] = { ...flags[section], [name]: value };
      else flags[section] = value;
    }
    const set = this.dataSet();
    flags.data = { source: set ? set.name : "synthetic" };
    return {
      preset: this.controls.get("preset").value, space: this.controls.get("space").value, flags, sets: {},
      ranges: this.knobs.ranges(),
    };
  }

  dataSet() {
    return this.dataSets.find((set) => set.fingerprint === this.controls.get("data").value) ?? null;
  }

  input(event) {
    if (event.target === this.controls.get("space")) this.knobs.forget();
    if (event.target === this.controls.get("preset")) {
      const help = document.getElementById("f-preset-help");
      if (help) help.textContent = PRESET_HELP[event.target.value] ?? "";
    }
    this.changed();
  }

  changed() {
    clearTimeout(this.timer);
    this.plan.textContent = "";
    this.timer = setTimeout(() => this.rebuild(), SETTLE_MS);
  }

  /** Have the specification built anew and show what varies and what empty fields stand for. */
  async rebuild() {
    clearTimeout(this.timer);
    const wrong = [...this.form.elements].find((element) => !element.validity.valid);
    if (wrong) return this.fail(`${this.labelOf(wrong)}: ${wrong.validationMessage}`, wrong);
    const choices = this.choices();
    const text = JSON.stringify(choices);
    this.asked = text;
    try {
      const built = await call("POST", "/specs", choices);
      if (this.asked !== text) return null;
      this.error.textContent = "";
      this.showDefaults(built.spec);
      this.knobs.show(built.spec.space, built.spec.epochs);
      return built;
    } catch (error) {
      return this.asked === text ? this.fail(error.message) : null;
    }
  }

  labelOf(element) {
    return element.labels?.[0]?.textContent ?? element.name;
  }

  fail(message, element = null) {
    this.error.textContent = message;
    if (element) element.setAttribute("aria-invalid", "true");
    return null;
  }

  showDefaults(spec) {
    for (const element of this.form.querySelectorAll("[aria-invalid]")) element.removeAttribute("aria-invalid");
    for (const [path, , kind] of [...BUDGET, ...METHOD, ...RESOURCES]) {
      const [section, name] = path.split(".");
      const value = name ? spec[section]?.[name] : spec[section];
      const control = this.controls.get(path);
      if (Array.isArray(kind)) {
        if (!control.value) control.options[0].textContent = `${value} (preset)`;
      } else if (!control.value) {
        control.placeholder = value === null || value === undefined ? "" : String(value);
      }
    }
  }

  async submission() {
    const built = await this.rebuild();
    if (!built) return null;
    const value = (name) => this.controls.get(name).value.trim();
    const body = {
      kind: "run", spec: built.spec, digest: built.digest, fingerprint: this.dataSet()?.fingerprint ?? null,
      name: value("name") || null, exclusive: this.controls.get("exclusive").checked,
      gpus: value("gpus") ? Number(value("gpus")) : null,
    };
    // The same content keeps its key, so that asking again after a lost answer queues once.
    const text = JSON.stringify(body);
    if (this.keyOf !== text) {
      this.keyOf = text;
      this.key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    return { ...body, key: this.key };
  }

  async check() {
    const body = await this.submission();
    if (!body) return;
    try {
      const found = await call("POST", "/jobs/check", body);
      this.plan.textContent = [
        `It would be queued as ${found.name}, number ${found.position} in the queue, holding ${format.share(found.gpus, found.cpus)}.`,
        ...found.notes].join(" ");
    } catch (error) {
      this.fail(error.message);
    }
  }

  async submit(event) {
    event.preventDefault();
    const button = this.form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      const body = await this.submission();
      if (!body) return;
      const job = await call("POST", "/jobs", body);
      announce(`${job.id} is queued.`);
      location.hash = jobAddress(job.id);
    } catch (error) {
      if (error.status === undefined) throw error;
      this.fail(error.message);
    } finally {
      button.disabled = false;
    }
  }

  close() {
    clearTimeout(this.timer);
  }
}
