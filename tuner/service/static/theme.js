// Sets the chosen colours before the first paint, so that a dark page never flashes light.
(function () {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("tuner-theme"); } catch { /* storage is forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
