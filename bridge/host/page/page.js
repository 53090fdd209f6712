// The page itself: who is signed in, which view the address names, and the news that all views hear.
"use strict";

const Page = (() => {
  const { find, make, setText, button, title, say } = Elements;
  const VIEWS = { runs: RunList, servers: ServerView, usage: UsageView };
  const PAGE = 100;
  let session = null;
  let stopNews = () => {};
  let isLost = false;
  let wasAt = "";

  async function enter() {
    try {
      session = await Service.findSession();
      await begin();
    } catch (error) {
      showFault(error);
    }
  }

  async function begin() {
    const [newest, goingOn] = await Promise.all([Service.listRuns({ limit: PAGE }), listGoingOn()]);
    showWho();
    RunList.begin(newest);
    stopNews();
    stopNews = Service.listen(newest.news, { live, lost, closed, run: hear, servers: ServerView.hear, reset });
    await Promise.all([Waiting.start(session, goingOn), route()]);
  }

  const listGoingOn = async () => (await Service.listRuns({ status: "in_progress", limit: 2 * PAGE })).runs;

  function showWho() {
    const who = session.principal || "";
    find("nav").hidden = false;
    find("leave").hidden = !session.csrf;
    setText(find("who"), session.operator && who ? Words.say("operator", { who }) : who);
    if (!session.csrf) setText(find("who"), Words.say("nobody"));
  }

  function hear(run) {
    RunList.hear(run);
    RunView.hear(run);
    Waiting.hear(run);
  }

  // What was missed cannot be told one by one: all that is shown is fetched again.
  async function reset() {
    try {
      const goingOn = await listGoingOn();
      await Promise.all([RunList.load(), Waiting.start(session, goingOn), RunView.refreshShown()]);
      ServerView.hear();
    } catch (error) {
      showFault(error);
    }
  }

  function live() {
    setText(find("state"), Words.say("live"));
    find("state").classList.remove("lost");
    if (isLost) say(Words.say("live_again"));
    isLost = false;
  }

  function lost() {
    isLost = true;
    setText(find("state"), Words.say("lost"));
    find("state").classList.add("lost");
  }

  // The news have been refused: either nobody is signed in any more, or the service is away.
  async function closed() {
    try {
      session = await Service.findSession();
      return true;
    } catch (error) {
      if (error.status === 401) showSignIn(true);
      return error.status !== 401;
    }
  }

  async function leave() {
    await Service.signOut().catch(() => {});
    showSignIn(false);
  }

  function showSignIn(hasEnded) {
    stopNews();
    stopNews = () => {};
    session = null;
    RunView.close();
    Waiting.stop();
    for (const id of ["nav", "leave"]) find(id).hidden = true;
    for (const id of ["who", "state"]) setText(find(id), "");
    const token = make("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
    token.setAttribute("aria-describedby", "token-hint");
    const fault = make("p", { class: "fault", role: "alert" });
    const parts = [
      make("label", { for: "token" }, Words.say("token")),
      token,
      make("p", { class: "note", id: "token-hint" }, Words.say("token_hint")),
      fault,
      make("button", { type: "submit", class: "go" }, Words.say("sign_in")),
    ];
    const signIn = async (event) => {
      event.preventDefault();
      setText(fault, "");
      try {
        session = await Service.signIn(token.value.trim());
        token.value = "";
        wasAt = "";
        await begin();
      } catch (error) {
        setText(fault, error.message);
        token.select();
      }
    };
    const ended = hasEnded && make("p", { class: "note" }, Words.say("sign_in_ended"));
    const form = make("form", { class: "sign-in", on: { submit: signIn } }, ...parts);
    find("main").replaceChildren(...[title(Words.say("sign_in")), ended, form].filter(Boolean));
    document.title = `${Words.say("sign_in")} · mcp-responses-bridge`;
    token.focus();
  }

  // Say what went wrong where the person looks, with a way to try again.
  function showFault(error) {
    if (error.status === 401) return showSignIn(session !== null);
    const again = button(Words.say("try_again"), () => (session ? route() : enter()));
    const text = error.status === 404 ? Words.say("not_found") : error.message;
    find("problem")?.remove();
    const problem = make("p", { id: "problem", class: "fault", role: "alert" }, text, " ", again);
    const main = find("main");
    if (error.status === 404) RunView.close();
    const isEmpty = error.status === 404 || !main.querySelector("h1");
    if (isEmpty) main.replaceChildren(title(Words.say("title_runs")), problem);
    else main.querySelector("h1").after(problem);
  }

  function readAddress() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [name, id] = (path || "runs").split("/");
    return { name, id: id && decodeURIComponent(id), query: new URLSearchParams(query) };
  }

  async function route() {
    if (!session) return;
    const { name, id, query } = readAddress();
    const main = find("main");
    const isOther = wasAt !== location.hash;
    const isFirst = !wasAt;
    wasAt = location.hash || "#/runs";
    if (id !== undefined && name === "runs") RunList.leave(id);
    RunView.close();
    Waiting.clear();
    for (const link of find("nav").children) {
      if (link.hash === `#/${name}`) link.setAttribute("aria-current", id === undefined ? "page" : "true");
      else link.removeAttribute("aria-current");
    }
    try {
      const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : null;
      const opening = id !== undefined ? RunView.open(main, id, session) : view?.open(main, query, session);
      if (!opening) main.replaceChildren(title(Words.say("no_page")));
      const heading = main.querySelector("h1");
      document.title = `${heading.textContent} · mcp-responses-bridge`;
      Waiting.draw();
      if (isOther && !isFirst && !main.contains(document.activeElement)) heading.focus();
      await opening;
    } catch (error) {
      showFault(error);
    }
  }

  function changeLanguage() {
    Words.change();
    speak();
    const data = find("data");
    if (data) return showFile(data);
    if (!session) return find("token") && showSignIn(false);
    showWho();
    if (isLost) lost();
    else live();
    Waiting.draw();
    route();
  }

  function speak() {
    Words.apply(document);
    setText(find("language"), Words.say("other_language"));
    find("language").lang = Words.say("other_language") === "中文" ? "zh-CN" : "en";
  }

  function showFile(data) {
    RunView.openFile(find("main"), JSON.parse(data.textContent));
    setText(find("who"), Words.say("whole_file"));
    document.title = find("main").querySelector("h1").textContent;
  }

  function start() {
    speak();
    find("language").addEventListener("click", changeLanguage);
    find("leave").addEventListener("click", leave);
    find("skip").addEventListener("click", (event) => {
      event.preventDefault();
      find("main").focus();
    });
    const data = find("data");
    if (data) return showFile(data);
    addEventListener("hashchange", route);
    enter();
  }

  return { start, showFault };
})();

Page.start();
