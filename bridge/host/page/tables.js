// A table that becomes a list of cards where it is narrow: each cell says its column.
"use strict";

const Tables = (() => {
  const { make } = Elements;

  function makeTable(heads, rows, label) {
    const head = make("tr", { role: "row" }, ...heads.map((text) => make("th", { scope: "col", role: "columnheader" }, text)));
    const body = rows.map((cells) => make("tr", { role: "row" }, ...cells.map((text, at) => makeCell(text, heads[at], at))));
    const parts = [make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body)];
    return make("table", { role: "table", "aria-label": label }, ...parts);
  }

  function makeCell(content, head, at) {
    const kind = at ? { role: "cell" } : { role: "rowheader", scope: "row" };
    return make(at ? "td" : "th", { ...kind, "data-head": head, dir: "auto" }, make("span", {}, content));
  }

  return { make: makeTable };
})();
