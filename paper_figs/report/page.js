// Tables that are sorted by their headers, and details that are open in print.
"use strict";
(() => {
  const keyOf = (row, i) => {
    const cell = row.cells[i];
    const key = cell.dataset.key;
    return key === undefined ? cell.textContent.trim() : Number(key);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (table, i, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row, i), row]);
    const numeric = table.tHead.rows[0].cells[i].classList.contains("number");
    rows.sort(([a], [b]) => {
      // what has no number stays last, whichever way the numbers go
      if (numeric && (typeof a !== "number" || typeof b !== "number")) return (typeof a !== "number") - (typeof b !== "number");
      return direction === "ascending" ? compare(a, b) : compare(b, a);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      head.querySelector("button").addEventListener("click", () => {
        const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        sort(table, i, next);
      });
    });
  }
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.keys):not(#chooser)")];
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
  const target = () => {
    const found = document.getElementById(decodeURIComponent(window.location.hash.slice(1)));
    for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (found && found.matches("details > *")) found.scrollIntoView();
  };
  window.addEventListener("hashchange", target);
  target();
})();
