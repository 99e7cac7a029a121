// Shows the view that the address names, in a session; the address is the part after #.

import { call } from "./api.js";
import { h, setAttribute } from "./dom.js";
import { JobView } from "./job_view.js";
import { LoginView } from "./login_view.js";
import { QueueView } from "./queue_view.js";
import { RunsView } from "./runs_view.js";
import { SubmitView } from "./submit_view.js";

const main = document.getElementById("main");
const theme = document.getElementById("theme");
let session = null;
let current = null;
let turn = 0;

/** Return the view of an address; unknown ones are the queue's. */
function viewOf(address) {
  const job = /^#\/jobs\/([^/?]+)$/.exec(address);
  if (job) return new JobView(decoded(job[1]));
  if (address === "#/submit") return new SubmitView();
  if (address === "#/runs") return new RunsView(session);
  return new QueueView(session);
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function showSession() {
  document.getElementById("views").hidden = !session;
  document.getElementById("who").hidden = !session;
  document.getElementById("user").textContent = session ? session.user + (session.admin ? " (admin)" : "") : "";
}

async function show(view) {
  turn += 1;
  const mine = turn;
  current?.close();
  current = view;
  main.replaceChildren(view.element);
  document.title = `${view.title} – tuner`;
  for (const link of document.querySelectorAll("#views a")) {
    setAttribute(link, "aria-current", link.hash === (location.hash || "#/queue") ? "page" : null);
  }
  window.scrollTo(0, 0);
  view.element.querySelector("h1")?.focus({ preventScroll: true });
  try {
    await view.start();
  } catch (error) {
    if (mine !== turn || error.status === 401) return;
    if (error.status === undefined) throw error;
    main.replaceChildren(h("h1", { tabindex: "-1" }, view.title),
      h("p", { class: "error", role: "alert" }, error.message),
      h("p", {}, h("button", { type: "button", onclick: route }, "Try again"), " ", h("a", { href: "#/queue" }, "Queue")));
  }
}

async function route() {
  if (!session) {
    try {
      session = await call("GET", "/me");
    } catch (error) {
      if (error.status === 401) return;
      show({ element: h("div", {}, h("h1", { tabindex: "-1" }, "tuner")), title: "tuner", start: () => Promise.reject(error), close() {} });
      return;
    }
    showSession();
  }
  show(viewOf(location.hash));
}

function logIn() {
  session = null;
  showSession();
  if (!(current instanceof LoginView)) show(new LoginView(route));
}

window.addEventListener("hashchange", function () {
  if (location.hash === "" || location.hash.startsWith("#/")) route();
});
window.addEventListener("tuner:logged-out", logIn);
document.querySelector(".skip").addEventListener("click", function (event) {
  event.preventDefault();
  main.focus();
});
document.getElementById("log-out").addEventListener("click", async function () {
  await call("DELETE", "/session").catch(() => null);
  logIn();
});
theme.value = document.documentElement.dataset.theme ?? "";
theme.addEventListener("change", function () {
  setAttribute(document.documentElement, "data-theme", theme.value || null);
  try { localStorage.setItem("tuner-theme", theme.value); } catch { /* storage is forbidden */ }
  window.dispatchEvent(new Event("tuner:theme"));
});
route();
