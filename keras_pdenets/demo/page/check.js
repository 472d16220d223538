// An ordinary script, which runs where modules do not: it says why nothing happens.
"use strict";

addEventListener("DOMContentLoaded", () => {
  const problems = [
    [location.protocol === "file:",
      "Browsers do not run this page from a file. In its folder, start “python -m http.server” and open http://localhost:8000."],
    [typeof WebAssembly !== "object",
      "WebAssembly is missing or switched off in this browser (some do that in a “lockdown” or “strict” mode): the nets cannot run. Allow it for this page, or try another browser."],
    [typeof DecompressionStream !== "function" || !("noModule" in HTMLScriptElement.prototype),
      "This browser is too old for the page: it needs one of 2023 or later."],
  ];
  const found = problems.find(([holds]) => holds);
  if (!found) return;
  document.getElementById("status").hidden = true;
  const problem = document.getElementById("problem");
  problem.textContent = found[1];
  problem.hidden = false;
  document.documentElement.dataset.stopped = "yes";
});
