// The list of runs: the newest on top, as they happen; older ones a page at a time.
"use strict";

const RunList = (() => {
  const { find, make, setText, reconcile, button, title } = Elements;
  const PAGE = 100;
  const MOST = 500;
  const GOING = ["in_progress", "waiting", "interrupted"];
  const STATUSES = [...GOING, "completed", "incomplete", "failed", "cancelled", "needs_input"];
  let filter = { status: "", who: "" };
  let runs = [];
  let before = null;
  // False when the newest are not shown, because one has gone so far back.
  let isAtTop = true;
  // True when some have been dropped at the end: then older ones are asked for from the newest on.
  let isCut = false;
  const whos = new Set();
  let place = null;
  let left = "";
  let isSoon = false;

  const findStatus = (run) => (run.questions && run.ended == null ? "waiting" : run.status);
  const fits = (run) =>
    (!filter.who || run.who === filter.who) &&
    (!filter.status || run.status === filter.status || (filter.status === "waiting" && run.questions > 0));

  // Those that wait are among those that go on; the service knows no status of that name.
  async function fetchRuns(more = {}) {
    const status = filter.status === "waiting" ? "in_progress" : filter.status;
    const told = await Service.listRuns({ limit: PAGE, status, who: filter.who, ...more });
    return { ...told, runs: told.runs.filter(fits) };
  }

  // Fetch the newest that fit.
  async function load() {
    const asked = filter;
    const told = await fetchRuns();
    if (asked === filter) begin(told);
  }

  function begin(told) {
    runs = told.runs.filter(fits);
    before = told.before;
    isAtTop = true;
    isCut = false;
    for (const run of runs) whos.add(run.who);
    draw();
  }

  async function loadOlder(event) {
    if (isCut) return load().catch(Page.showFault);
    event.currentTarget.setAttribute("aria-disabled", "true");
    try {
      const told = await fetchRuns({ before });
      const known = new Set(runs.map((run) => run.run_id));
      const fresh = told.runs.filter((run) => !known.has(run.run_id));
      runs = [...runs, ...fresh];
      before = told.before;
      for (const run of fresh) whos.add(run.who);
      if (runs.length > MOST) {
        runs = runs.slice(runs.length - MOST);
        isAtTop = false;
      }
      draw();
      if (fresh.length) focusRun(fresh[0].run_id);
    } catch (error) {
      Page.showFault(error);
    } finally {
      find("older")?.removeAttribute("aria-disabled");
    }
  }

  const focusRun = (id) => place?.querySelector(`[data-key="${CSS.escape(id)}"] a`)?.focus();

  // News of a run.
  function hear(run) {
    whos.add(run.who);
    const at = runs.findIndex((other) => other.run_id === run.run_id);
    if (at >= 0 && fits(run)) runs[at] = run;
    else if (at >= 0) runs.splice(at, 1);
    else if (fits(run)) insert(run);
    else return;
    drawSoon();
  }

  // Once for all news that come before the next picture.
  function drawSoon() {
    if (!isSoon) requestAnimationFrame(draw);
    isSoon = true;
  }

  function insert(run) {
    const next = runs.findIndex((other) => other.created <= run.created);
    if (next === 0 && !isAtTop) return;
    if (next < 0 && before !== null) return;
    runs.splice(next < 0 ? runs.length : next, 0, run);
    if (runs.length > MOST && isAtTop) {
      runs.length = MOST;
      isCut = true;
    }
  }

  function makeRow(run) {
    const prompt = make("span", { class: "prompt", dir: "auto" });
    const badge = make("span", { class: "badge" });
    const link = make("a", { href: `#/runs/${encodeURIComponent(run.run_id)}` }, badge, " ", prompt);
    return make("li", { class: "run" }, link, make("span", { class: "facts" }));
  }

  function drawRow(row, run) {
    const key = document.documentElement.lang;
    if (row.shown === run && row.shownIn === key) return;
    Object.assign(row, { shown: run, shownIn: key });
    const status = findStatus(run);
    row.dataset.status = status;
    setText(row.querySelector(".badge"), Words.name(status));
    setText(row.querySelector(".prompt"), run.prompt || Words.say("no_prompt"));
    const facts = [run.who, Words.showTime(run.created), ...listSums(run)];
    setText(row.querySelector(".facts"), facts.join(" · "));
  }

  // How much a run was: how long it took, and its sums.
  function listSums(run) {
    const words = Words.forTimeline();
    const took = run.ended == null ? [] : [Timeline.showSeconds(run.ended - run.created, words)];
    const sums = ["turns", "calls", "tokens"].map((key) => Words.count(key, run[key] || 0));
    const money = run.cost == null ? [] : [Words.say("money", { n: Timeline.showMoney(run.cost, words) })];
    return [...took, ...sums, ...money];
  }

  function makeFilters(session) {
    const status = make("select", { on: { change: refilter }, id: "by-status" });
    status.append(make("option", { value: "" }, Words.say("any")));
    status.append(...STATUSES.map((name) => make("option", { value: name }, Words.name(name))));
    status.value = filter.status;
    const choices = [make("label", {}, Words.say("status"), " ", status)];
    if (session.operator) {
      const who = make("select", { id: "by-who", on: { change: refilter } });
      choices.push(make("label", {}, Words.say("who"), " ", who));
    }
    return make("form", { class: "filters", on: { submit: (event) => event.preventDefault() } }, ...choices);
  }

  function drawWhos() {
    const select = find("by-who");
    const names = [...new Set([...whos, filter.who])].filter(Boolean).sort();
    if (!select || select.dataset.names === names.join("\n")) return;
    select.dataset.names = names.join("\n");
    const options = names.map((name) => make("option", { value: name }, name));
    select.replaceChildren(make("option", { value: "" }, Words.say("everybody")), ...options);
    select.value = filter.who;
  }

  function refilter() {
    const chosen = { status: find("by-status").value, who: find("by-who")?.value || "" };
    const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
    location.replace(`#/runs${query.size ? `?${query}` : ""}`);
  }

  function draw() {
    isSoon = false;
    if (!place?.isConnected) return;
    drawWhos();
    reconcile(place, runs, (run) => run.run_id, makeRow, drawRow);
    const isEmpty = !runs.length;
    find("none").hidden = !isEmpty;
    setText(find("none"), Words.say(filter.status || filter.who ? "none_found" : "none"));
    find("older").hidden = before === null && !isCut;
    find("newest").hidden = isAtTop;
  }

  // Show the list in `main`. What is at hand is shown at once; only another filter asks the service again.
  async function open(main, query, session) {
    const wanted = { status: query.get("status") || "", who: query.get("who") || "" };
    const isOther = wanted.status !== filter.status || wanted.who !== filter.who;
    if (isOther) {
      filter = wanted;
      runs = [];
      before = null;
    }
    const focused = document.activeElement?.id;
    place = make("ol", { class: "runs", id: "list", "aria-label": Words.say("title_runs") });
    const older = button(Words.say("older"), loadOlder, { id: "older", hidden: true });
    const newest = button(Words.say("newest"), () => load().catch(Page.showFault), { id: "newest", hidden: true });
    const none = make("p", { id: "none", class: "note", hidden: true });
    main.replaceChildren(title(Words.say("title_runs")), makeFilters(session), newest, place, none, older);
    draw();
    if (focused?.startsWith("by-")) find(focused)?.focus();
    else if (left) focusRun(left);
    left = "";
    if (isOther) await load();
  }

  return { open, load, begin, hear, listSums, leave: (id) => (left = id) };
})();
