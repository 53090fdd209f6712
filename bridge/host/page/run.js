// One run: what it was asked, its turns and calls in time, what each call was given and gave, and the answer.
"use strict";

const RunView = (() => {
  const { find, make, setText, reconcile, button, title, note, say, confirm } = Elements;
  const SECOND_MS = 1000;
  let id = null;
  let run = null;
  // Where texts come from: the service, or the file that this is.
  let texts = null;
  let selected = null;
  let detail = null;
  let timer = 0;
  let fetchedAt = 0;
  let mayAnswer = false;
  let isAsking = false;
  let isStale = false;

  const shorten = (name) => name.replace(/^run_/, "").slice(0, 8);
  const goesOn = () => run.ended == null && run.is_driven !== false;

  async function open(main, name, session) {
    close();
    id = name;
    mayAnswer = session.may_answer;
    main.replaceChildren(title(Words.say("run", { id: shorten(name) })), note(Words.say("loading")));
    await refresh();
  }

  // Show a run that is at hand, with texts that are as well.
  function openFile(main, { run: told, texts: kept }) {
    close();
    id = told.run_id;
    texts = kept || {};
    main.replaceChildren();
    take(told, main);
  }

  function close() {
    clearInterval(timer);
    id = run = detail = selected = texts = null;
    isStale = false;
  }

  async function refresh() {
    const name = id;
    if (isAsking || isStale) return (isStale = true);
    isAsking = true;
    try {
      const told = await Service.findRun(name);
      if (name === id) take(told, find("main"));
      Waiting.take(told);
    } finally {
      isAsking = false;
      if (isStale) setTimeout(refreshAgain, pause());
    }
  }

  // A run of thousands of calls is looked at less often.
  const pause = () => 5 * (run?.timeline?.length || 0);

  function refreshAgain() {
    if (!isStale || !id) return;
    isStale = false;
    refresh().catch(Page.showFault);
  }

  function hear(news) {
    if (id && news.run_id === id) refresh().catch(Page.showFault);
  }

  function take(told, main) {
    const before = run;
    run = told;
    fetchedAt = Date.now();
    if (!before) build(main);
    draw();
    if (before && before.ended == null && run.ended != null) {
      say(Words.say("run_ended", { status: Words.name(run.status) }));
    }
    clearInterval(timer);
    if (goesOn() && !texts) timer = setInterval(drawTime, Math.max(SECOND_MS, pause()));
  }

  function build(main) {
    const back = texts ? null : make("a", { class: "back", href: "#/runs" }, `← ${Words.say("back")}`);
    const cancel = button(Words.say("cancel"), stop, { id: "cancel", class: "risky", hidden: true });
    const head = make("div", { class: "head" }, title(""), make("p", { class: "facts", id: "facts" }), cancel);
    const load = (part) => (from) => loadText(part, from);
    const prompt = Object.assign(Texts.make(Words.say("prompt"), load("input")), { id: "prompt" });
    const answer = Object.assign(Texts.make(Words.say("answer"), load("answer")), { id: "answer" });
    const bars = makePart("timeline", note(Words.say("timeline_none"), { id: "no-bars" }), make("div", { id: "bars" }));
    const notes = Object.assign(makePart("remarks", make("ul", { class: "remarks" })), { id: "notes" });
    const fault = Object.assign(makePart("error", make("p", { dir: "auto" })), { id: "fault", className: "fault" });
    const hadFocus = document.activeElement?.tagName === "H1";
    main.replaceChildren(...[back, head, fault, prompt, bars, answer, notes].filter(Boolean));
    if (hadFocus) main.querySelector("h1").focus();
  }

  const makePart = (key, ...children) =>
    make("section", { "aria-label": Words.say(key) }, make("h2", {}, Words.say(key)), ...children);

  function draw() {
    const status = run.questions?.length && run.ended == null ? "waiting" : run.status;
    const head = find("main").querySelector(".head");
    head.dataset.status = status;
    const heading = head.querySelector("h1");
    if (!heading.children.length) heading.replaceChildren(make("span", { class: "badge" }), " ", make("span"));
    setText(heading.firstChild, Words.name(status));
    setText(heading.lastChild, Words.say("run", { id: shorten(run.run_id) }));
    find("cancel").hidden = Boolean(texts) || !goesOn() || !(run.may_cancel ?? run.may_answer ?? mayAnswer);
    find("prompt").show(run.input || { text: run.prompt || "", chars: 0 });
    find("fault").hidden = !run.error;
    setText(find("fault").querySelector("p"), run.error?.message || "");
    drawAnswer();
    drawRemarks();
    drawTime();
  }

  function drawAnswer() {
    const isWhole = run.answer?.text || run.ended != null;
    const text = isWhole ? run.answer : run.saying;
    find("answer").name(Words.say(isWhole || !text?.text ? "answer" : "saying"));
    if (text?.text) find("answer").show(text);
    else find("answer").tell(Words.say(run.ended == null ? "no_answer" : "no_answer_ended"));
  }

  function drawRemarks() {
    const words = Words.forTimeline();
    const timed = (run.remarks || []).map(({ at, text }) => {
      const when = Timeline.showSeconds(Timeline.place(run.axis, at), words);
      return { text: `${Words.say("at", { at: when })}: ${text.trim()}` };
    });
    const isTold = (notice) => timed.some((remark) => remark.text.includes(notice.message.trim()));
    const notices = (run.notices || []).filter((notice) => !isTold(notice));
    const all = [...timed, ...notices.map((notice) => ({ text: notice.message }))];
    find("notes").hidden = !all.length;
    const list = find("notes").querySelector("ul");
    const items = all.map((remark, place) => ({ ...remark, key: String(place) }));
    reconcile(list, items, (item) => item.key, () => make("li", { dir: "auto" }), (li, item) => setText(li, item.text));
  }

  // What changes with the time alone.
  function drawTime() {
    const elapsed = goesOn() && !texts ? (Date.now() - fetchedAt) / 1000 : 0;
    const now = (run.now ?? run.axis.ended) + elapsed;
    const words = Words.forTimeline();
    const ended = goesOn() ? Math.max(now, run.axis.ended) : run.axis.ended;
    const took = Timeline.showSeconds(Timeline.place(run.axis, ended), words);
    const sums = RunList.listSums({ ...run, ended: null });
    const model = run.model ? [Words.say("model", { model: run.model })] : [];
    const facts = [Words.say(goesOn() ? "so_far" : "took", { took }), ...sums, Words.say("asked_by", { who: run.who })];
    const began = Words.say("began", { at: Words.showTime(run.created) });
    const reason = run.reason ? [run.reason] : [];
    setText(find("facts"), [...reason, ...facts, ...model, began].join(" · "));
    find("no-bars").hidden = Boolean(run.timeline?.length);
    find("bars").hidden = !run.timeline?.length;
    Timeline.draw(find("bars"), { ...run, now }, { words, select, selected, detail: drawDetail() });
  }

  function select(span) {
    selected = selected === Timeline.findKey(span) ? null : Timeline.findKey(span);
    detail = null;
    drawTime();
  }

  // What the selected call was given and gave; its output is fetched again when the call has ended.
  function drawDetail() {
    const span = (run.timeline || []).find((each) => each.kind === "call" && Timeline.findKey(each) === selected);
    if (!span) return null;
    const isNew = !detail;
    const part = (name) => `call/${span.turn}/${span.index}/${name}`;
    if (isNew) {
      const makeOne = (name) => Texts.make(Words.say(name), (from) => loadText(part(name), from), "h3");
      detail = make("div", { class: "call" }, makeOne("arguments"), makeOne("output"));
      fetchInto(detail.firstChild, part("arguments"));
    }
    if (span.ended == null) detail.lastChild.tell(Words.say("not_there"));
    else if (isNew || detail.ended !== span.ended) fetchInto(detail.lastChild, part("output"));
    detail.ended = span.ended;
    return detail;
  }

  async function fetchInto(element, part) {
    if (!element.querySelector("pre").firstChild) element.tell(Words.say("loading"));
    try {
      element.show(await loadText(part, 0));
    } catch (error) {
      element.tell(error.status === 404 ? Words.say(texts ? "not_in_file" : "not_there") : error.message);
    }
  }

  async function loadText(part, from) {
    if (!texts) return Service.findText(id, part, from);
    if (!Object.hasOwn(texts, part)) throw Object.assign(new Error(), { status: 404 });
    const whole = [...texts[part]];
    return { text: whole.slice(from, from + 20000).join(""), from, chars: whole.length };
  }

  async function stop() {
    const name = id;
    const words = { yes: Words.say("cancel_yes"), no: Words.say("cancel_no") };
    if (!(await confirm(Words.say("cancel_question"), words))) return;
    try {
      await Service.cancel(name);
      say(Words.say("cancel_sent"));
    } catch (error) {
      Page.showFault(error);
    }
  }

  const refreshShown = () => (id ? refresh() : undefined);

  return { open, openFile, close, hear, refreshShown };
})();
