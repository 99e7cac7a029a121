// Builds and fills elements. What a server sent becomes text, never markup.

/**
 * Return a new element. Attributes that are functions listen ("onclick"); false, null and undefined
 * are left out. Children are text, nodes, null or lists of these.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined
    && child !== false));
  return element;
}

/** Write text only where it differs: unchanged text costs no layout and disturbs no reader. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set or take away an attribute, only where it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Tell people who do not see the page of a change, once, without moving the focus. */
export function announce(text) {
  setText(document.getElementById("announcer"), text);
}

/** Return a table's head. A column is [title, class]; an empty title is no header. */
export function tableHead(columns) {
  return h("thead", {}, h("tr", {}, columns.map(([title, kind]) =>
    title ? h("th", { scope: "col", class: kind }, title) : h("td"))));
}

/** Return what scrolls a wide table sideways, also by keyboard. */
export function scrolling(label, table) {
  return h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, table);
}

let ids = 0;
/** Return an identifier that no other element has. */
export function newId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}
