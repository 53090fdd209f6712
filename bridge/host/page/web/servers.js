// The connected servers: their state, why, and their tools with what these cost in every request.
"use strict";

const ServerView = (() => {
  const { find, make, title, note, setText } = Elements;
  const opened = new Set();

  async function open(main) {
    const sum = note(Words.say("loading"), { id: "sum" });
    main.replaceChildren(title(Words.say("title_servers")), sum, make("div", { id: "servers" }));
    await refresh();
  }

  async function refresh() {
    const told = await Service.get("page/servers");
    if (!find("servers")) return;
    const request = told.request || { tools: 0, tokens: 0 };
    const sums = { tools: Words.count("tools", request.tools), tokens: Words.count("tokens", request.tokens) };
    setText(find("sum"), Words.say(request.is_searched ? "searched" : "all_tools", sums));
    if (!told.servers.length) setText(find("sum"), Words.say("no_servers"));
    const place = find("servers");
    Elements.reconcile(place, told.servers, (server) => server.name, () => make("section", { class: "server" }), draw);
  }

  function draw(section, server) {
    const text = JSON.stringify(server);
    const key = document.documentElement.lang + text;
    if (section.drawn === key) return;
    section.drawn = key;
    section.dataset.state = server.state;
    const name = make("h2", { dir: "auto" }, server.name);
    const state = make("span", { class: "badge" }, Words.name(server.state, "state_"));
    const tools = server.tools || [];
    const tokens = server.tokens ?? tools.reduce((sum, tool) => sum + tool.tokens, 0);
    const sums = [Words.count("tools", tools.length), Words.count("tokens", tokens), server.era && `MCP ${server.era}`];
    const facts = make("p", { class: "facts" }, sums.filter(Boolean).join(" · "));
    const said = [server.signed_in, server.reason].filter(Boolean).map((told) => make("p", { dir: "auto" }, told));
    const hadFocus = section.contains(document.activeElement);
    section.replaceChildren(make("div", { class: "head" }, name, state), ...said, facts);
    if (tools.length) section.append(listTools(server, tools));
    if (hadFocus) section.querySelector("summary")?.focus();
  }

  function listTools(server, tools) {
    const heads = ["col_model", "col_tool", "col_tokens", "col_approval", "col_notes"].map((key) => Words.say(key));
    const rows = tools.map((tool) => [
      tool.name || "–",
      tool.tool,
      tool.tokens ? Words.number(tool.tokens) : "–",
      Words.name(tool.approval, "approval_"),
      tool.notes.join("; "),
    ]);
    const summary = make("summary", {}, Words.say("show_tools", { server: server.name }));
    const keep = (event) => opened[event.target.open ? "add" : "delete"](server.name);
    const isOpen = opened.has(server.name);
    return make("details", { open: isOpen, on: { toggle: keep } }, summary, Tables.make(heads, rows, server.name));
  }

  const hear = () => (find("servers") ? refresh().catch(Page.showFault) : undefined);

  return { open, hear };
})();
