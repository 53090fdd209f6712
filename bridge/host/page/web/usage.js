// Who used how much today, and of how much.
"use strict";

const UsageView = (() => {
  const { make, title, note } = Elements;

  async function open(main) {
    main.replaceChildren(title(Words.say("title_usage")), note(Words.say("loading"), { id: "day" }));
    const told = await Service.get("page/usage");
    const place = Elements.find("day");
    if (!place) return;
    place.textContent = told.principals.length ? Words.say("day", { day: told.day }) : Words.say("no_usage");
    if (!told.principals.length) return;
    const heads = ["who", "runs", "turns", "calls", "tokens", "money"].map((name) => Words.say(`col_${name}`));
    const money = (n) => Timeline.showMoney(n, Words.forTimeline()) || "–";
    const rows = told.principals.map((each) => [
      each.name,
      Words.number(each.runs),
      Words.number(each.turns),
      Words.number(each.calls),
      share(each.tokens, each.tokens_per_day, Words.number),
      share(each.cost, each.cost_per_day, money),
    ]);
    main.append(Tables.make(heads, rows, Words.say("title_usage")));
  }

  // How much of a limit is used, with a bar where there is one.
  function share(used, limit, show) {
    if (limit == null) return show(used);
    const text = Words.say("of_limit", { used: show(used), limit: show(limit) });
    const bar = make("meter", { min: 0, max: limit || 1, value: used || 0, high: limit * 0.8, "aria-hidden": "true" });
    return make("span", {}, text, " ", bar);
  }

  return { open };
})();
