// Questions that must be answered before something happens; Escape answers no.

import { h, newId } from "./dom.js";

/**
 * Ask in a dialog. Return null if it was left, else the form's data.
 *
 * @param {{title: string, text: string, confirm: string, danger?: boolean, fields?: Node[]}} asked
 * @returns {Promise<FormData | null>}
 */
export function ask({ title, text, confirm, danger = false, fields = [] }) {
  const [heading, explained] = [newId("dialog"), newId("dialog")];
  const form = h("form", { method: "dialog" },
    h("h2", { id: heading }, title), h("p", { id: explained }, text), fields,
    h("p", { class: "buttons" },
      h("button", { type: "submit", value: "yes", class: danger ? "danger" : "primary" }, confirm),
      h("button", { type: "submit", value: "no", formnovalidate: true }, "Cancel")));
  const dialog = h("dialog", { "aria-labelledby": heading, "aria-describedby": explained }, form);
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise(function (answer) {
    dialog.addEventListener("close", function () {
      const data = dialog.returnValue === "yes" ? new FormData(form) : null;
      dialog.remove();
      if (before?.isConnected) before.focus();
      answer(data);
    });
  });
}
