// What the page does with a script: live figures, sorting, filtering, single trials.
(async function () {
  "use strict";
  const stored = await unpacked(document.getElementById("stored").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), function (letter) { return letter.charCodeAt(0); });
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  // Draws a chart as wide as its place and names it for those who do not see it.
  async function embed(element, spec, label) {
    const scale = Math.min(element.clientWidth || spec.width, 600) / spec.width;
    const sized = Object.assign({}, spec, { config: stored.config });
    if (spec.width < 600) {
      sized.width = Math.round(spec.width * scale);
      sized.height = Math.round(spec.height * Math.max(1, scale));
    } else {
      sized.width = Math.max(600, element.clientWidth);
    }
    const result = await vegaEmbed(element, sized, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true,
      tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    const drawn = element.querySelector("svg");
    drawn.querySelectorAll("[role]").forEach(function (part) {
      part.removeAttribute("role");
      part.removeAttribute("aria-roledescription");
    });
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", label);
    return result;
  }

  // ---- figures become live when they come into view
  function live(panel) {
    const still = panel.querySelector("svg");
    const label = still.querySelector("title").textContent + ". " + still.querySelector("desc").textContent;
    const holder = document.createElement("div");
    holder.className = "waiting";
    panel.appendChild(holder);
    embed(holder, stored.specs[panel.dataset.chart], label).then(function (result) {
      still.remove();
      holder.classList.remove("waiting");
      result.view.addEventListener("click", function (_, item) {
        if (item && item.datum && item.datum.key) showTrial(item.datum.key);
      });
    }).catch(function () { holder.remove(); });  // the still drawing stays
  }

  const panels = document.querySelectorAll("[data-chart]");
  if (window.vegaEmbed && window.IntersectionObserver) {
    const observer = new IntersectionObserver(function (entries) {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        observer.unobserve(entry.target);
        live(entry.target);
      }
    }, { rootMargin: "200px" });
    panels.forEach(function (panel) { observer.observe(panel); });
  }

  // ---- tables
  function value(row, index) {
    const text = row.cells[index].textContent.trim();
    const number = Number(text.replace(/,/g, "").replace("−", "-"));
    return text === "–" || text === "" ? null : Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sort(table, header, index) {
    const down = header.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map(function (row) { return [value(row, index), row]; });
    rows.sort(function (a, b) {
      const missing = (a[0] === null) - (b[0] === null);
      return missing || (down ? compare(b[0], a[0]) : compare(a[0], b[0]));
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append.apply(body, rows.map(function (pair) { return pair[1]; }));
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (header, index) {
      if (header.dataset.fixed !== undefined || !header.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(header.childNodes));
      header.appendChild(button);
      button.addEventListener("click", function () { sort(table, header, index); });
    });
  });

  // ---- the trial table
  const table = document.getElementById("trial-table");
  const text = document.getElementById("filter-text");
  const state = document.getElementById("filter-state");
  const arm = document.getElementById("filter-arm");
  const count = document.getElementById("filter-count");
  const rows = Array.from(table.tBodies[0].rows);
  document.querySelector(".filters").hidden = false;

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const fits = (!state.value || row.dataset.state === state.value)
        && (!arm.value || row.dataset.arm === arm.value)
        && words.every(function (word) { return content.includes(word); });
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + " of " + rows.length + " trials";
  }
  [text, state, arm].forEach(function (control) { control.addEventListener("input", filter); });
  filter();

  const dialog = document.getElementById("trial-dialog");
  function showTrial(key) {
    const row = document.getElementById(key);
    const curve = stored.curves[key];
    if (!row || !dialog.showModal) return;
    const cells = Array.from(row.cells).map(function (cell) { return cell.textContent.trim(); });
    document.getElementById("trial-title").textContent = cells[0];
    document.getElementById("trial-facts").textContent =
      [cells[2], cells[3], cells[4], "validation F1 " + cells[5], "test F1 " + cells[6]].filter(Boolean).join(" · ");
    const holder = document.getElementById("trial-panels");
    holder.replaceChildren();
    dialog.showModal();
    if (!curve || !window.vegaEmbed) return;
    const values = curve.f.map(function (f1, index) {
      return {
        e: curve.e ? curve.e[index] : index + 1,
        f: f1 === null ? null : f1 / 1000,
        l: curve.l[index] === null ? null : curve.l[index] / 1000,
        i: curve.i && curve.i[index] !== null ? curve.i[index] / 100 : 0,
      };
    });
    const places = stored.trial.map(function () {
      const panel = document.createElement("div");
      panel.className = "panel";
      holder.appendChild(panel);
      return panel;
    });
    stored.trial.forEach(function (template, index) {
      const spec = JSON.parse(JSON.stringify(template));
      const fill = function (part) { if (part.data) part.data = { values: values }; };
      fill(spec);
      (spec.layer || []).forEach(fill);
      embed(places[index], spec, "Curve of " + cells[0]);
    });
  }

  for (const row of rows) {
    if (!stored.curves[row.id]) continue;
    const name = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.append.apply(button, Array.from(name.childNodes));
    button.addEventListener("click", function () { showTrial(row.id); });
    name.appendChild(button);
  }
})();
