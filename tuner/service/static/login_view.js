// Asks for a token and opens a session with it.

import { call } from "./api.js";
import { h } from "./dom.js";

export class LoginView {
  /** @param {() => void} entered  What to do once the session is open. */
  constructor(entered) {
    this.title = "Log in";
    this.entered = entered;
    this.error = h("p", { class: "error", role: "alert", id: "login-error" });
    this.token = h("input", {
      id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false",
      "aria-describedby": "login-help login-error",
    });
    this.button = h("button", { type: "submit", class: "primary" }, "Log in");
    this.element = h("div", { class: "narrow" }, h("h1", { tabindex: "-1" }, "Log in"),
      h("form", { onsubmit: (event) => this.submit(event) },
        h("p", { class: "field" }, h("label", { for: "token" }, "Token"), this.token),
        h("p", { class: "soft", id: "login-help" }, "The same as for the command line. Whoever runs the server makes one with ",
          h("code", {}, "tuner user add NAME"), "."),
        h("p", { class: "buttons" }, this.button), this.error));
  }

  async start() {
    this.token.focus();
  }

  async submit(event) {
    event.preventDefault();
    this.error.textContent = "";
    this.button.disabled = true;
    try {
      await call("POST", "/session", { token: this.token.value.trim() });
      this.token.value = "";
      this.entered();
    } catch (error) {
      this.error.textContent = error.status === 401 ? "The server does not know this token." : error.message;
      this.token.focus();
      this.token.select();
    } finally {
      this.button.disabled = false;
    }
  }

  close() {}
}
