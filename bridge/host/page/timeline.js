// A run as bars in time: its turns, and the calls of each, beside one another on one axis.
//
// `Timeline.draw(element, run, options)` makes `element` show `run.timeline` on `run.axis`, and may be called again
// with news: rows stay the same elements, so focus and selection stay where they are. It asks nobody for anything.
"use strict";

const Timeline = (() => {
  const ENGLISH = {
    locale: "en",
    title: "Turns and calls in time",
    what: "What",
    when: "When",
    took: "Took",
    tokens: "Tokens",
    money: "Money",
    turn: "Turn {turn}",
    began: "begins at {at}",
    failed: "failed",
    running: "goes on",
    waiting: "waits for a yes",
    cut: "cut off",
    paused: "nobody drove it here",
    ms: "{n} ms",
    s: "{n} s",
    min: "{n} min",
    h: "{n} h",
  };
  const UNITS = [["h", 3600, 7200], ["min", 60, 120], ["s", 1, 1]];
  const SMALL_STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
  const STEPS = [...SMALL_STEPS, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];
  const MOST_TICKS = 5;
  const formats = new Map();

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  function make(tag, className, attributes = {}) {
    const element = document.createElement(tag);
    element.className = className;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Making a format costs more than a hundred numbers written with it.
  function findFormat(locale, least, most) {
    const key = `${locale} ${least} ${most}`;
    if (!formats.has(key)) {
      const digits = { minimumFractionDigits: least, maximumFractionDigits: most };
      formats.set(key, new Intl.NumberFormat(locale, digits));
    }
    return formats.get(key);
  }

  const showNumber = (number, digits, words) => findFormat(words.locale, digits, digits).format(number);

  // How long something took, in the unit that fits.
  function showSeconds(seconds, words = ENGLISH) {
    const [unit, size] = UNITS.find(([, , least]) => seconds >= least) || ["ms", 0.001];
    return fill(words[unit], { n: showNumber(seconds / size, unit === "ms" ? 0 : 1, words) });
  }

  // A moment on the axis: a round one without a fraction.
  function showTick(seconds, words) {
    const [unit, size] = UNITS.find(([, , least]) => seconds >= least) || (seconds ? ["ms", 0.001] : ["s", 1]);
    return fill(words[unit], { n: findFormat(words.locale, 0, 1).format(seconds / size) });
  }

  // For how many seconds the run had been driven by then: where nobody drove it, the axis stands still.
  function place(axis, at) {
    const pauses = axis.pauses || [];
    const rested = pauses.reduce((sum, [since, until]) => sum + Math.max(0, Math.min(at, until) - since), 0);
    return Math.max(0, at - axis.began - rested);
  }

  const findKey = (span) => `${span.turn}/${span.kind === "turn" ? "" : span.index}`;
  const goesOn = (run) => run.ended == null && run.is_driven !== false;

  function findState(span, run) {
    if (span.ended != null) return span.is_error ? "failed" : "done";
    if (!goesOn(run)) return "cut";
    const isAsked = (question) => span.kind === "call" && question.turn === span.turn && question.index === span.index;
    return (run.questions || []).some(isAsked) ? "waiting" : "running";
  }

  // Turns in order, and behind each its calls: what began at once stands together.
  function sortSpans(spans) {
    const rank = (span) => (span.kind === "turn" ? -1 : span.index);
    return [...spans].sort((a, b) => a.turn - b.turn || rank(a) - rank(b));
  }

  function makeHead(words) {
    const row = make("div", "timeline-row timeline-head", { role: "row" });
    const { what, when, took, tokens, money } = words;
    for (const [name, text] of Object.entries({ name: what, track: when, took, tokens, money })) {
      const cell = make("div", `timeline-${name}`, { role: "columnheader" });
      cell.append(make("span", "timeline-word"));
      setText(cell.firstChild, text);
      row.append(cell);
    }
    return row;
  }

  function drawTicks(track, length, words) {
    const step = STEPS.find((size) => length / size <= MOST_TICKS) || length;
    const ticks = [];
    for (let at = 0; at <= length * 0.88; at += step) ticks.push(at);
    for (const old of track.querySelectorAll(".timeline-tick")) old.remove();
    for (const at of ticks) {
      const tick = make("span", "timeline-tick", { "aria-hidden": "true" });
      tick.style.left = `${(at / length) * 100}%`;
      setText(tick, showTick(at, words));
      track.append(tick);
    }
    return step / length;
  }

  function makeRow(span, select) {
    const row = make("div", `timeline-row timeline-${span.kind}`, { role: "row" });
    row.dataset.key = findKey(span);
    const name = make("div", "timeline-name", { role: "rowheader" });
    const label = select ? make("button", "timeline-label", { type: "button" }) : make("span", "timeline-label");
    label.append(make("span", "timeline-title"), " ", make("span", "timeline-of"), " ", make("span", "timeline-state"));
    name.append(label);
    const track = make("div", "timeline-track", { role: "cell" });
    track.append(make("span", "timeline-hidden"), make("span", "timeline-bar", { "aria-hidden": "true" }));
    const numbers = ["took", "tokens", "money"].map((kind) => make("div", `timeline-${kind}`, { role: "cell" }));
    row.append(name, track, ...numbers);
    return row;
  }

  function drawRow(row, span, run, axis, length, words, { select, selected }) {
    const state = findState(span, run);
    const from = place(axis, span.began);
    const took = Math.max(0, place(axis, span.ended ?? axis.ended) - from);
    const [title, of, said] = row.querySelectorAll(".timeline-label > span");
    setText(title, span.kind === "turn" ? fill(words.turn, { turn: span.turn }) : span.name);
    setText(of, (span.kind === "turn" ? span.name : span.server) || "");
    setText(said, state === "done" ? "" : words[state]);
    row.dataset.state = state;
    const label = title.parentElement;
    if (label.tagName === "BUTTON") {
      label.onclick = () => select(span);
      label.setAttribute("aria-expanded", String(selected === findKey(span)));
    }
    const [began, bar] = row.querySelectorAll(".timeline-track > span");
    setText(began, fill(words.began, { at: showSeconds(from, words) }));
    const left = Math.min(99.5, (from / length) * 100);
    bar.style.left = `${left}%`;
    bar.style.width = `${Math.min(100 - left, (took / length) * 100)}%`;
    setText(row.querySelector(".timeline-took"), showSeconds(took, words));
    row.querySelector(".timeline-tokens").dataset.unit = words.tokens;
    setText(row.querySelector(".timeline-tokens"), span.tokens ? showNumber(span.tokens, 0, words) : "");
    setText(row.querySelector(".timeline-money"), showMoney(span.cost, words));
  }

  function showMoney(cost, words = ENGLISH) {
    return cost == null ? "" : showNumber(cost, cost < 100 ? 4 : 0, words);
  }

  function drawPauses(table, axis, length, words) {
    const places = (axis.pauses || []).map(([since]) => (place(axis, since) / length) * 100);
    table.dataset.pauses = places.length;
    const track = table.querySelector(".timeline-head .timeline-track");
    for (const old of track.querySelectorAll(".timeline-pause")) old.remove();
    for (const left of places) {
      const mark = make("span", "timeline-pause", { title: words.paused, "aria-hidden": "true" });
      mark.style.left = `${left}%`;
      track.append(mark);
    }
  }

  // What a selected row opens, in a row of its own behind it.
  function makeDetail(detail) {
    const row = make("div", "timeline-detail", { role: "row" });
    const cell = make("div", "timeline-whole", { role: "cell", "aria-colspan": "5" });
    cell.append(detail);
    row.append(cell);
    return row;
  }

  function drawRows(table, run, axis, length, words, options) {
    const old = new Map([...table.children].slice(1).map((row) => [row.dataset.key || "detail", row]));
    let last = table.firstChild;
    const put = (row) => {
      if (last.nextSibling !== row) last.after(row);
      last = row;
    };
    const shown = sortSpans(run.timeline || []);
    const keys = new Set(shown.map(findKey));
    for (const [key, row] of old) if (!keys.has(key) && (key !== "detail" || !keys.has(options.selected))) row.remove();
    for (const span of shown) {
      const key = findKey(span);
      const row = old.get(key) || makeRow(span, span.kind === "call" && options.select);
      drawRow(row, span, run, axis, length, words, options);
      put(row);
      if (options.detail && options.selected === key) put(old.get("detail") || makeDetail(options.detail));
    }
  }

  // `options`: `words` in place of the English ones; `select(span)` makes the calls' labels buttons; `selected` is the
  // key of the span behind which the element `detail` is put.
  function draw(element, run, options = {}) {
    const words = { ...ENGLISH, ...options.words };
    const axis = goesOn(run) && run.now ? { ...run.axis, ended: Math.max(run.axis.ended, run.now) } : run.axis;
    const length = place(axis, axis.ended) || 1;
    let table = element.querySelector(":scope > .timeline");
    if (!table || table.lang !== words.locale) {
      table = make("div", "timeline", { role: "table", lang: words.locale });
      table.append(makeHead(words));
      element.replaceChildren(table);
    }
    table.setAttribute("aria-label", words.title);
    const step = drawTicks(table.querySelector(".timeline-head .timeline-track"), length, words);
    table.style.setProperty("--step", `${step * 100}%`);
    drawPauses(table, axis, length, words);
    drawRows(table, run, axis, length, words, options);
    return table;
  }

  return { draw, place, showSeconds, showMoney, findKey };
})();
