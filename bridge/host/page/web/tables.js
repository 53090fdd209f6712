// A table that becomes a list of cards where it is narrow: each cell says its column.
"use strict";

const Tables = (() => {
  const { make } = Elements;

  function makeTable(heads, rows, label) {
    const column = { scope: "col", role: "columnheader", class: "number" };
    const head = make("tr", { role: "row" }, ...heads.map((text) => make("th", column, text)));
    const fill = (cells) => make("tr", { role: "row" }, ...cells.map((text, at) => makeCell(text, heads[at], at)));
    const body = rows.map(fill);
    const parts = [make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body)];
    return make("table", { role: "table", "aria-label": label }, ...parts);
  }

  function makeCell(content, head, at) {
    const kind = at ? { role: "cell" } : { role: "rowheader", scope: "row" };
    const isShort = typeof content === "string" && /^([\d.,]+|–)$/.test(content);
    const attributes = { ...kind, "data-head": head, dir: "auto", class: isShort ? "number" : null };
    return make(at ? "td" : "th", attributes, make("span", {}, content));
  }

  return { make: makeTable };
})();
