// The run of one call of `respond` in a host's chat: it shows what the host hands over, and asks for nothing.
//
// The host and this page talk JSON-RPC over postMessage, as MCP Apps (2026-01-26) has it.
"use strict";

(() => {
  const HELLO = 1;
  const TIMELINE = "mcp-responses-bridge/timeline";
  const MOST_CHARS = 240;
  const state = { host: {}, input: "", result: null, isCancelled: false, isRefused: false };
  const find = (id) => document.getElementById(id);
  const list = (value) => (Array.isArray(value) ? value : []);

  // -- what is shown --------------------------------------------------------------------------------------------------

  // A text on one line, in which nothing hides or changes the places of others.
  function plain(value) {
    const line = String(value ?? "").slice(0, 4 * MOST_CHARS).replace(/\s+/g, " ").trim();
    const signs = Array.from(line.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd"));
    return signs.length > MOST_CHARS ? `${signs.slice(0, MOST_CHARS - 1).join("")}…` : signs.join("");
  }

  function setText(id, text) {
    const element = find(id);
    if (element.textContent !== text) element.textContent = text;
  }

  // Speak the language of the host, or that of the browser.
  function chooseLanguage() {
    const isChinese = /^zh\b/i.test(String(state.host.locale || navigator.language));
    if (isChinese !== (Words.say("locale") === "zh-CN")) Words.change();
    document.documentElement.lang = Words.say("locale");
  }

  function say(key, n) {
    return AppWords[Words.say("locale")][key].replace("{n}", () => Words.number(n));
  }

  // Where the host has kept the times to itself, the lengths of the calls: turn behind turn.
  function guessRun(receipt) {
    const spans = [];
    let began = 0;
    for (let turn = 1; turn <= Number(receipt.turns) && turn <= 100; turn += 1) {
      const calls = list(receipt.tool_calls).filter((call) => call.turn === turn);
      const ends = calls.map((call) => began + (Number(call.duration_ms) || 0) / 1000);
      const ended = Math.max(began, ...ends);
      spans.push({ kind: "turn", turn, name: plain(receipt.model), began, ended });
      for (const [index, call] of calls.entries()) {
        const names = { name: plain(call.name), server: plain(call.server) };
        spans.push({ kind: "call", turn, index, ...names, began, ended: ends[index], is_error: call.is_error === true });
      }
      began = ended;
    }
    return { timeline: spans, axis: { began: 0, ended: began, pauses: [] }, ended: began };
  }

  function listSums(receipt, run, isGuessed) {
    const calls = list(receipt.tool_calls);
    const failed = calls.filter((call) => call.is_error).length;
    const { total_tokens: tokens, cost } = receipt.usage || {};
    const words = Words.forTimeline();
    return [
      Words.count("turns", Number(receipt.turns) || 0),
      Words.count("calls", calls.length),
      failed && say("failed_calls", failed),
      !isGuessed && Timeline.showSeconds(Timeline.place(run.axis, run.axis.ended), words),
      Words.count("tokens", Number(tokens) || 0),
      typeof cost === "number" && Words.say("money", { n: Timeline.showMoney(cost, words) }),
    ].filter(Boolean);
  }

  function showSums(sums) {
    const items = sums.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    });
    find("sums").replaceChildren(...items);
  }

  // What the bridge has added for us, where the host has let it through as it was.
  function findDrawing() {
    const drawing = (state.result._meta || {})[TIMELINE];
    return drawing && Array.isArray(drawing.timeline) && drawing.axis ? drawing : null;
  }

  function showReceipt(receipt, drawn) {
    const run = drawn || guessRun(receipt);
    const hasBars = list(run.timeline).length > 0;
    showSums(listSums(receipt, run, !drawn));
    find("bars").hidden = !hasBars;
    find("bars").dataset.guessed = String(!drawn);
    if (hasBars) Timeline.draw(find("bars"), run, { words: Words.forTimeline() });
    setText("error", receipt.error ? plain(receipt.error.message) : "");
    const hints = [];
    if (!drawn && hasBars) hints.push(say("guessed"));
    if (run.left_out) hints.push(say("left_out", run.left_out));
    if (receipt.status === "in_progress") hints.push(say("goes_on"));
    setText("hint", hints.join(" "));
  }

  function findStatus(receipt) {
    if (state.isRefused) return "refused";
    if (!state.result) return state.isCancelled ? "cancelled" : "running";
    if (!receipt) return state.result.isError ? "failed" : "unknown";
    return String(receipt.status);
  }

  function show() {
    chooseLanguage();
    const receipt = state.result && state.result.structuredContent;
    const { theme, displayMode } = state.host;
    document.documentElement.style.colorScheme = ["light", "dark"].includes(theme) ? theme : "light dark";
    const status = findStatus(receipt);
    setText("status", Object.hasOwn(AppWords.en, status) ? say(status) : plain(status));
    find("status").dataset.status = status;
    setText("input", state.input);
    find("bars").setAttribute("aria-label", Words.say("timeline"));
    find("bars").dataset.mode = displayMode || "inline";
    if (receipt) showReceipt(receipt, findDrawing());
    else find("bars").hidden = true;
  }

  // -- what the host and this page say to each other ------------------------------------------------------------------

  const send = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");

  const NOTIFICATIONS = {
    "ui/notifications/tool-input": ({ arguments: given }) => {
      const input = (given || {}).input;
      state.input = typeof input === "string" ? plain(input) : "";
    },
    "ui/notifications/tool-result": (result) => {
      state.result = result;
    },
    "ui/notifications/tool-cancelled": () => {
      state.isCancelled = true;
    },
    "ui/notifications/host-context-changed": (context) => {
      state.host = { ...state.host, ...context };
    },
  };
  const REQUESTS = { ping: {}, "ui/resource-teardown": {} };

  // A host that refuses us says so in place of a result, and is not told that all is well.
  function hearHello({ result, error }) {
    if (error) state.isRefused = true;
    else state.host = { ...state.host, ...(result || {}).hostContext };
    show();
    if (error) return;
    send({ method: "ui/notifications/initialized", params: {} });
    new ResizeObserver(tellHeight).observe(find("app"));
  }

  function answer({ id, method }) {
    if (Object.hasOwn(REQUESTS, method)) send({ id, result: REQUESTS[method] });
    else send({ id, error: { code: -32601, message: "Method not found" } });
  }

  function hear({ source, data }) {
    if (source !== window.parent || !data || data.jsonrpc !== "2.0") return;
    if (data.method === undefined) {
      if (data.id === HELLO) hearHello(data);
    } else if (data.id !== undefined) answer(data);
    else if (Object.hasOwn(NOTIFICATIONS, data.method)) {
      NOTIFICATIONS[data.method](data.params || {});
      show();
    }
  }

  // The height of what is there, which is not that of the frame: else one would follow the other for ever.
  let told = 0;
  function tellHeight() {
    const height = Math.ceil(find("app").getBoundingClientRect().height);
    if (height === told || !height) return;
    told = height;
    send({ method: "ui/notifications/size-changed", params: { height } });
  }

  window.addEventListener("message", hear);
  show();
  send({
    id: HELLO,
    method: "ui/initialize",
    params: {
      protocolVersion: "2026-01-26",
      appInfo: { name: "mcp-responses-bridge", version: document.querySelector("meta[name=version]").content },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    },
  });
})();
