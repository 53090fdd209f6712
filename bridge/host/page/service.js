// What is asked of the service, and what it tells by itself. Addresses are relative, so that a proxy may move them.
"use strict";

class Refusal extends Error {
  constructor(status, code, message) {
    super(message || Words.say("unreachable"));
    this.status = status;
    this.code = code;
  }
}

const Service = (() => {
  const FIRST_PAUSE_MS = 1000;
  const LAST_PAUSE_MS = 30000;
  const LOOK_MS = 10000;
  const KINDS = ["run", "servers", "reset"];
  let csrf = "";
  const asked = new Map();

  async function ask(method, path, body) {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET" && csrf) headers["X-CSRF"] = csrf;
    let reply;
    try {
      reply = await fetch(path, { method, headers, body: JSON.stringify(body), cache: "no-store" });
    } catch {
      throw new Refusal(0, "unreachable", "");
    }
    const told = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Refusal(reply.status, told.error?.code, told.error?.message || String(reply.status));
    return told;
  }

  const get = (path) => ask("GET", path);
  const post = (path, body) => ask("POST", path, body);
  const nameRun = (id) => `page/runs/${encodeURIComponent(id)}`;

  async function enter(asking) {
    const session = await asking;
    csrf = session.csrf || "";
    return session;
  }

  const findSession = () => enter(get("page/session"));
  const signIn = (token) => enter(post("page/session", { token }));

  async function signOut() {
    await ask("DELETE", "page/session");
    csrf = "";
  }

  function listRuns(filter = {}) {
    const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    return get(`page/runs?${query}`);
  }

  // One run. All who hear the same news share the reply; a later asker gets a later one.
  function findRun(id) {
    if (!asked.has(id)) {
      asked.set(id, get(nameRun(id)));
      setTimeout(() => asked.delete(id));
    }
    return asked.get(id);
  }

  const findText = (id, part, from) => get(`${nameRun(id)}/texts/${part}?from=${from}`);
  const answer = (id, question, yes) => post(`${nameRun(id)}/answer`, { question, yes });
  const cancel = (id) => post(`${nameRun(id)}/cancel`, {});

  // Hear the news that follow `after`: `heard` has a function for each kind, `live()`, `lost()`, and `closed()`, which
  // says whether to try again. What was told meanwhile is told then.
  function listen(after, heard) {
    let source = null;
    let pause = FIRST_PAUSE_MS;
    let timer = 0;
    let last = after;

    function open() {
      source = new EventSource(`page/news?after=${encodeURIComponent(last)}`);
      source.onopen = () => {
        pause = FIRST_PAUSE_MS;
        heard.live();
      };
      source.onerror = () => {
        heard.lost();
        if (source.readyState === EventSource.CLOSED) timer = setTimeout(retry, pause);
      };
      for (const kind of KINDS) source.addEventListener(kind, (event) => hear(kind, event));
    }

    function hear(kind, event) {
      last = event.lastEventId || last;
      heard[kind](event.data ? JSON.parse(event.data) : {});
    }

    async function retry() {
      pause = Math.min(pause * 2, LAST_PAUSE_MS);
      if (await heard.closed()) open();
    }

    // A machine that slept, or changed its network, may hold a connection on which nothing comes any more.
    function reopen() {
      clearTimeout(timer);
      source.close();
      open();
    }

    let looked = Date.now();
    function look() {
      if (Date.now() > looked + 3 * LOOK_MS) reopen();
      looked = Date.now();
    }

    open();
    const looking = setInterval(look, LOOK_MS);
    addEventListener("online", reopen);
    return () => {
      clearTimeout(timer);
      clearInterval(looking);
      removeEventListener("online", reopen);
      heard = { ...heard, closed: () => false };
      source.close();
    };
  }

  return { findSession, signIn, signOut, listRuns, findRun, findText, answer, cancel, get, listen };
})();
