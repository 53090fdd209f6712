// What waits for a yes, on top of everything: the exact call, what has changed of its tool, and two buttons.
"use strict";

const Waiting = (() => {
  const { find, make, setText, reconcile, button, time, say } = Elements;
  // A press counts only when the buttons have stood still for so long: neither a second click of the one before nor a
  // click meant for what was there a moment ago is an answer.
  const STILL_MS = 600;
  const MOST_RUNS = 50;
  const GONE = new Set(["unknown", "moved_on", "ended"]);
  const runs = new Map();
  // The keys of questions whose answer is on its way, and of those that are over: they are never asked again, so news
  // that were overtaken bring none of them back.
  const answered = new Set();
  const over = new Set();
  // When each run was last looked at, by the service's clock.
  const seen = new Map();
  let told = [];
  let mayAnswer = false;
  let timer = 0;
  // How many answers are on their way: until they are there, nothing is hidden that has the focus.
  let sending = 0;

  const nameKey = (run, question) => `${run.run_id} ${question.question}`;
  const nameIt = ({ tool, server }) => ({ tool, server });

  const listQuestions = () =>
    [...runs.values()]
      .flatMap((run) => run.questions.map((question) => ({ ...question, run })))
      .sort((a, b) => a.asked_at - b.asked_at);

  // Begin with these runs: those of them that have questions.
  async function start(session, list) {
    mayAnswer = session.may_answer;
    const waiting = list.filter((run) => run.questions);
    const ids = new Set(waiting.map((run) => run.run_id));
    const known = [...runs.values()].filter((run) => !ids.has(run.run_id));
    await Promise.all([...known, ...waiting.slice(0, MOST_RUNS)].map(hear));
    draw();
  }

  function stop() {
    for (const kept of [runs, seen, over, answered]) kept.clear();
    told = [];
    draw();
  }

  // News of a run: what it waits for is fetched if it waits for something, or did.
  async function hear(run) {
    if (!run.questions && !runs.has(run.run_id)) return;
    try {
      take(await Service.findRun(run.run_id));
    } catch (error) {
      if (error.status === 404) take({ ...run, questions: [], now: Infinity });
    }
  }

  // A whole run, as somebody has fetched it. A reply that a later one has overtaken tells nothing.
  function take(run) {
    if (run.now < seen.get(run.run_id)) return;
    seen.set(run.run_id, run.now);
    const before = runs.get(run.run_id)?.questions || [];
    const listed = (run.questions || []).map((question) => ({ ...question, key: nameKey(run, question) }));
    const questions = listed.filter((question) => !over.has(question.key));
    const keys = new Set(questions.map((question) => question.key));
    for (const question of before) if (!keys.has(question.key)) leave(question);
    const known = new Set(before.map((question) => question.key));
    for (const question of questions) {
      if (!known.has(question.key)) say(Words.say("new_question", nameIt(question)), { urgent: true });
    }
    if (questions.length) runs.set(run.run_id, { ...run, questions });
    else runs.delete(run.run_id);
    if (before.length || questions.length) draw();
  }

  function leave(question) {
    over.add(question.key);
    if (!answered.has(question.key)) tell("elsewhere", question);
  }

  function tell(key, question) {
    told = [...told.slice(-2), { key, question }];
    say(Words.say(key, nameIt(question)));
  }

  function makeCard(question) {
    const word = (tag, key) => make(tag, { "data-word": key });
    const said = make("p", { class: "said", dir: "auto" });
    const call = make("pre", { class: "text", dir: "auto" });
    const changed = make("div", {}, word("p", "changed"), make("pre", { class: "text changed", dir: "auto" }));
    const origin = make("p", {}, word("span", "of_run"), " ", make("a", { dir: "auto" }));
    if (question.asked_at) origin.append(" ", time(question.asked_at));
    const no = button("", (event) => press(event, question, false), { "data-word": "no" });
    const yes = button("", (event) => press(event, question, true), { "data-word": "yes" });
    const choices = make("div", { class: "choices" }, no, yes);
    const cannot = make("p", { class: "note" });
    const title = make("h3", { tabindex: "-1", dir: "auto" });
    const fault = make("p", { class: "fault" });
    // Long arguments scroll the title off the screen, so it is said again where the buttons are.
    const again = make("p", { class: "again", dir: "auto" });
    const exact = make("div", {}, word("p", "exact_call"), call);
    const parts = [title, origin, said, changed, exact, again, choices, cannot, fault];
    return make("article", { class: "question" }, ...parts);
  }

  function drawCard(card, question) {
    const title = Words.say("waits_call", nameIt(question));
    setText(card.querySelector("h3"), question.tool ? title : question.server);
    const isForm = question.is_approval === false;
    setText(card.querySelector(".said"), isForm ? question.message : "");
    setText(card.querySelector(".again"), isForm ? "" : Words.say("run_it", nameIt(question)));
    setText(card.querySelector("pre:not(.changed)"), question.arguments || "");
    card.querySelector("pre:not(.changed)").parentElement.hidden = isForm;
    setText(card.querySelector(".changed"), question.difference || "");
    card.querySelector(".changed").parentElement.hidden = !question.difference;
    const link = card.querySelector("a");
    link.href = `#/runs/${encodeURIComponent(question.run.run_id)}`;
    setText(link, question.run.prompt || Words.say("no_prompt"));
    const may = question.run.may_answer ?? mayAnswer;
    card.querySelector(".choices").hidden = !may;
    card.querySelector("[data-word=yes]").hidden = isForm;
    card.querySelector(".note").hidden = may && !isForm;
    setText(card.querySelector(".note"), Words.say(may ? "only_host" : "only_asker"));
    Words.apply(card);
    for (const choice of card.querySelectorAll("button")) {
      choice.setAttribute("aria-label", `${choice.textContent}: ${title}`);
    }
  }

  // Where a question goes that had the focus, that goes to the next one, or to the heading.
  function draw() {
    const section = find("waiting");
    const questions = listQuestions();
    const isNew = section.hidden;
    section.hidden = !questions.length && !told.length && !sending;
    if (section.hidden) return section.replaceChildren();
    if (isNew || !section.firstChild) {
      const heading = make("h2", { id: "waiting-title", tabindex: "-1" });
      section.replaceChildren(heading, make("div", { class: "questions" }), make("ul", { class: "told" }));
    }
    const [title, cards, list] = section.children;
    section.classList.toggle("calm", !questions.length);
    setText(title, questions.length ? Words.count("waits_title", questions.length) : Words.say("waits_none"));
    const before = [...cards.children].map((card) => card.dataset.key).join(" ");
    const focused = cards.contains(document.activeElement) && document.activeElement.closest("article");
    reconcile(cards, questions, (question) => question.key, makeCard, drawCard);
    if (before !== [...cards.children].map((card) => card.dataset.key).join(" ")) settle(cards);
    if (focused && !focused.isConnected) (cards.querySelector("h3") || title).focus();
    list.replaceChildren(...told.map(({ key, question }) => make("li", {}, Words.say(key, nameIt(question)))));
    document.title = `${questions.length ? `(${questions.length}) ` : ""}${document.title.replace(/^\(\d+\) /, "")}`;
  }

  // The buttons have moved: for a moment none of them can be pressed.
  function settle(cards) {
    for (const choice of cards.querySelectorAll(".choices button")) choice.setAttribute("aria-disabled", "true");
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const choice of cards.querySelectorAll("article:not([data-busy]) .choices button")) {
        choice.removeAttribute("aria-disabled");
      }
    }, STILL_MS);
  }

  async function press(event, question, yes) {
    const choice = event.currentTarget;
    const card = choice.closest("article");
    if (choice.getAttribute("aria-disabled") || event.detail > 1) return;
    card.dataset.busy = "";
    for (const each of card.querySelectorAll("button")) each.setAttribute("aria-disabled", "true");
    setText(card.querySelector(".fault"), "");
    answered.add(question.key);
    sending += 1;
    try {
      await Service.answer(question.run.run_id, question.question, yes);
      tell(yes ? "said_yes" : "said_no", question);
      drop(question);
    } catch (error) {
      refuse(error, question, card);
    } finally {
      answered.delete(question.key);
      sending -= 1;
    }
  }

  function refuse(error, question, card) {
    if (GONE.has(error.code)) {
      if (!over.has(question.key)) tell("elsewhere", question);
      return drop(question);
    }
    delete card.dataset.busy;
    for (const each of card.querySelectorAll("button")) each.removeAttribute("aria-disabled");
    setText(card.querySelector(".fault"), error.message);
    say(error.message, { urgent: true });
  }

  // A question that has been answered goes.
  function drop(question) {
    over.add(question.key);
    const run = runs.get(question.run.run_id);
    if (run) {
      const questions = run.questions.filter((other) => other.key !== question.key);
      if (questions.length) runs.set(run.run_id, { ...run, questions });
      else runs.delete(run.run_id);
    }
    draw();
  }

  return { start, stop, hear, take, draw, clear: () => (told = []) };
})();
