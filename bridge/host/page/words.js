// All words of the page, in English and Chinese, and how numbers and times are written in each.
"use strict";

const Words = (() => {
  const ENGLISH = {
    name: "English",
    locale: "en",
    skip: "Skip to the content",
    nav: "Views",
    runs: "Runs",
    servers: "Servers",
    usage: "Today",
    sign_out: "Sign out",
    other_language: "中文",
    live: "Live",
    lost: "Connection lost. What is shown may be old; trying again …",
    live_again: "Connected again. Nothing was lost.",
    loading: "Loading …",
    unreachable: "The service cannot be reached.",
    try_again: "Try again",
    sign_in: "Sign in",
    token: "Your token",
    token_hint: "The one that your host sends to this service. It is not kept in the browser.",
    sign_in_ended: "You are no longer signed in. After signing in you are back where you were.",
    nobody: "Nobody is signed in: this service lets in every program of this machine, so nothing can be answered here.",
    signed_in_as: "Signed in as {who}",
    operator: "{who}, operator",
    not_found: "There is no such run, or it is not yours.",
    no_page: "There is nothing at this address.",
    back: "All runs",
    title_runs: "Runs",
    title_servers: "Servers",
    title_usage: "Who used how much today",
    status: "Status",
    any: "any",
    who: "Who",
    everybody: "everybody",
    none: "No runs yet. They appear here as hosts call `respond`.",
    none_found: "No runs are like that.",
    older: "Show older ones",
    newest: "Back to the newest",
    in_progress: "going on",
    completed: "completed",
    incomplete: "incomplete",
    failed: "failed",
    cancelled: "cancelled",
    needs_input: "needs input",
    interrupted: "interrupted",
    waiting: "waits for a yes",
    turns: "{n} turns",
    turns_one: "{n} turn",
    calls: "{n} calls",
    calls_one: "{n} call",
    tokens: "{n} tokens",
    tokens_one: "{n} token",
    money: "money {n}",
    tools: "{n} tools",
    tools_one: "{n} tool",
    no_prompt: "(no text)",
    run: "Run {id}",
    began: "began {at}",
    took: "took {took}",
    so_far: "{took} so far",
    model: "model {model}",
    asked_by: "asked by {who}",
    cancel: "Cancel this run",
    cancel_question: "Cancel this run? What its calls have done already stays done.",
    cancel_yes: "Cancel the run",
    cancel_no: "Let it go on",
    cancel_sent: "It was told to stop.",
    run_ended: "The run has ended: {status}",
    timeline: "Turns and calls in time",
    timeline_none: "No turn has begun yet.",
    remarks: "What was told beside",
    at: "at {at}",
    prompt: "What was asked",
    answer: "The answer",
    saying: "The answer so far",
    no_answer: "There is no answer yet.",
    no_answer_ended: "It ended without an answer.",
    error: "Why it failed",
    notices: "Notices",
    arguments: "Arguments",
    output: "What came back",
    not_there: "Not there yet.",
    not_in_file: "This is not in the file.",
    seen_of: "{seen} of {chars} characters are shown.",
    more_text: "Show more",
    waits_title: "{n} calls wait for a yes",
    waits_title_one: "A call waits for a yes",
    waits_none: "Nothing waits for a yes any more",
    waits_call: "{tool} of {server}",
    exact_call: "It would be called with exactly this:",
    changed: "What it claims has changed since it was approved:",
    of_run: "For the run:",
    run_it: "Run {tool} of {server}?",
    yes: "Yes, run it",
    no: "No, do not run it",
    only_asker: "Only who asked can answer this: in the host that asked, or signed in here with that token.",
    close: "Close",
    only_host: "A server asks this: what it wants can be given in the host that called, and here only be refused.",
    elsewhere: "The question about {tool} of {server} was answered elsewhere, or its run has ended.",
    said_yes: "You said yes to {tool} of {server}.",
    said_no: "You said no to {tool} of {server}.",
    new_question: "A call waits for a yes: {tool} of {server}",
    all_tools: "All together {tools}, about {tokens} in every request.",
    searched: "All together {tools}, about {tokens}: too many for a request, so the model searches them.",
    no_servers: "No servers are connected.",
    state_starting: "starting",
    state_late: "late",
    state_ready: "ready",
    "state_backing off": "connecting again",
    state_failed: "failed",
    "state_needs sign-in": "needs a sign-in",
    state_quarantined: "set aside after many failures",
    "state_left out": "left out",
    state_draining: "leaving",
    col_tool: "Tool",
    col_model: "The model sees",
    col_tokens: "Tokens",
    col_approval: "Approval",
    col_notes: "Notes",
    col_who: "Who",
    col_runs: "Runs",
    col_turns: "Turns",
    col_calls: "Calls",
    col_money: "Money",
    approval_run: "runs unasked",
    approval_ask: "asks",
    approval_deny: "denied",
    "approval_left out": "left out",
    show_tools: "Tools of {server}",
    day: "On {day} (UTC).",
    no_usage: "Nobody has used anything today.",
    of_limit: "{used} of {limit}",
    whole_file: "One run, as it was when this file was written.",
    t_what: "What",
    t_when: "When",
    t_took: "Took",
    t_tokens: "Tokens",
    t_money: "Money",
    t_turn: "Turn {turn}",
    t_began: "begins at {at}",
    t_failed: "failed",
    t_running: "goes on",
    t_waiting: "waits for a yes",
    t_cut: "cut off",
    t_paused: "nobody drove it here",
    t_ms: "{n} ms",
    t_s: "{n} s",
    t_min: "{n} min",
    t_h: "{n} h",
  };
  const CHINESE = {
    name: "中文",
    locale: "zh-CN",
    skip: "跳到正文",
    nav: "视图",
    runs: "运行",
    servers: "服务器",
    usage: "今天",
    sign_out: "退出登录",
    other_language: "English",
    live: "实时",
    lost: "连接中断。这里显示的可能已经过时；正在重试……",
    live_again: "已重新连接，没有丢失任何内容。",
    loading: "正在加载……",
    unreachable: "无法连接到服务。",
    try_again: "重试",
    sign_in: "登录",
    token: "你的令牌",
    token_hint: "就是你的宿主发送给这个服务的令牌。浏览器不会保存它。",
    sign_in_ended: "你已不再处于登录状态。登录后会回到原来的位置。",
    nobody: "没有人登录：这个服务允许本机的任何程序访问，所以不能在这里回答问题。",
    signed_in_as: "已登录：{who}",
    operator: "{who}，管理员",
    not_found: "没有这次运行，或者它不是你的。",
    no_page: "这个地址没有内容。",
    back: "所有运行",
    title_runs: "运行",
    title_servers: "服务器",
    title_usage: "今天谁用了多少",
    status: "状态",
    any: "任意",
    who: "谁",
    everybody: "所有人",
    none: "还没有运行。宿主调用 `respond` 后会出现在这里。",
    none_found: "没有符合条件的运行。",
    older: "显示更早的运行",
    newest: "回到最新的运行",
    in_progress: "进行中",
    completed: "已完成",
    incomplete: "未完成",
    failed: "失败",
    cancelled: "已取消",
    needs_input: "需要输入",
    interrupted: "已中断",
    waiting: "等待批准",
    turns: "{n} 轮",
    calls: "{n} 次调用",
    tokens: "{n} 个 token",
    money: "费用 {n}",
    tools: "{n} 个工具",
    no_prompt: "（没有文字）",
    run: "运行 {id}",
    began: "开始于 {at}",
    took: "用时 {took}",
    so_far: "已用 {took}",
    model: "模型 {model}",
    asked_by: "提问者 {who}",
    cancel: "取消这次运行",
    cancel_question: "取消这次运行？调用已经做的事情不会撤销。",
    cancel_yes: "取消运行",
    cancel_no: "让它继续",
    cancel_sent: "已通知它停止。",
    run_ended: "运行已结束：{status}",
    timeline: "各轮和各次调用的时间",
    timeline_none: "还没有开始任何一轮。",
    remarks: "其他说明",
    at: "在 {at}",
    prompt: "问了什么",
    answer: "回答",
    saying: "目前为止的回答",
    no_answer: "还没有回答。",
    no_answer_ended: "结束时没有回答。",
    error: "失败原因",
    notices: "提示",
    arguments: "参数",
    output: "返回的内容",
    not_there: "还没有。",
    not_in_file: "文件里没有这部分内容。",
    seen_of: "已显示 {chars} 个字符中的 {seen} 个。",
    more_text: "显示更多",
    waits_title: "{n} 次调用等待批准",
    waits_none: "没有等待批准的调用了",
    waits_call: "{server} 的 {tool}",
    exact_call: "它将以下面完全相同的参数被调用：",
    changed: "自批准以来，它的声明发生了变化：",
    of_run: "所属运行：",
    run_it: "运行 {server} 的 {tool}？",
    yes: "是，运行它",
    no: "否，不要运行",
    only_asker: "只有提问者可以回答：在提问的宿主里，或者用那个令牌在这里登录。",
    close: "关闭",
    only_host: "这是服务器提出的问题：它要的内容只能在发起调用的宿主里给出，在这里只能拒绝。",
    elsewhere: "关于 {server} 的 {tool} 的问题已在别处得到回答，或者它的运行已经结束。",
    said_yes: "你同意了 {server} 的 {tool}。",
    said_no: "你拒绝了 {server} 的 {tool}。",
    new_question: "有一次调用等待批准：{server} 的 {tool}",
    all_tools: "一共 {tools}，每个请求约 {tokens}。",
    searched: "一共 {tools}，约 {tokens}：一个请求放不下，所以由模型搜索。",
    no_servers: "没有连接任何服务器。",
    state_starting: "正在启动",
    state_late: "启动较慢",
    state_ready: "就绪",
    "state_backing off": "正在重新连接",
    state_failed: "失败",
    "state_needs sign-in": "需要登录",
    state_quarantined: "多次失败后被隔离",
    "state_left out": "未使用",
    state_draining: "正在离开",
    col_tool: "工具",
    col_model: "模型看到的名称",
    col_tokens: "Token",
    col_approval: "批准",
    col_notes: "备注",
    col_who: "谁",
    col_runs: "运行",
    col_turns: "轮",
    col_calls: "调用",
    col_money: "费用",
    approval_run: "直接运行",
    approval_ask: "先询问",
    approval_deny: "禁止",
    "approval_left out": "未使用",
    show_tools: "{server} 的工具",
    day: "{day}（UTC）。",
    no_usage: "今天还没有人使用。",
    of_limit: "{used}，上限 {limit}",
    whole_file: "一次运行，内容为写入此文件时的状态。",
    t_what: "内容",
    t_when: "时间",
    t_took: "用时",
    t_tokens: "Token",
    t_money: "费用",
    t_turn: "第 {turn} 轮",
    t_began: "开始于 {at}",
    t_failed: "失败",
    t_running: "进行中",
    t_waiting: "等待批准",
    t_cut: "被中断",
    t_paused: "这段时间没有进程驱动它",
    t_ms: "{n} 毫秒",
    t_s: "{n} 秒",
    t_min: "{n} 分钟",
    t_h: "{n} 小时",
  };
  const LANGUAGES = { en: ENGLISH, zh: CHINESE };
  const KEPT = "language";

  // The choice is kept where the browser allows that.
  function recall() {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null;
    }
  }

  function keep(code) {
    try {
      localStorage.setItem(KEPT, code);
    } catch {
      // it holds until the page is closed
    }
  }

  let code = LANGUAGES[recall()] ? recall() : /^zh\b/i.test(navigator.language) ? "zh" : "en";

  const table = () => LANGUAGES[code];

  // `values` are put in place of the names in braces; each as it is, whatever it contains.
  const say = (key, values = {}) => table()[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

  // What the service calls something, in words; what it has no word for stays as it is.
  const name = (told, group = "") => (Object.hasOwn(table(), group + told) ? table()[group + told] : String(told));

  // Making these costs more than a hundred uses of them.
  const formats = new Map();

  function find(name, make) {
    const key = `${name} ${code}`;
    if (!formats.has(key)) formats.set(key, make(table().locale));
    return formats.get(key);
  }

  const number = (n) => find("number", (locale) => new Intl.NumberFormat(locale)).format(n);

  function count(key, n) {
    const rules = find("plural", (locale) => new Intl.PluralRules(locale));
    const isOne = rules.select(n) === "one" && `${key}_one` in table();
    return say(isOne ? `${key}_one` : key, { n: number(n) });
  }

  function showTime(at) {
    const then = new Date(at * 1000);
    const isToday = then.toDateString() === new Date().toDateString();
    const day = isToday ? {} : { year: "numeric", month: "short", day: "numeric" };
    const time = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
    return find(isToday, (locale) => new Intl.DateTimeFormat(locale, { ...day, ...time })).format(then);
  }

  // Those of the timeline, as it wants them.
  function forTimeline() {
    const own = Object.entries(table()).filter(([key]) => key.startsWith("t_"));
    const words = Object.fromEntries(own.map(([key, text]) => [key.slice(2), text]));
    return { ...words, locale: table().locale, title: table().timeline };
  }

  function change() {
    code = code === "zh" ? "en" : "zh";
    keep(code);
  }

  // Put words where the document names them.
  function apply(root) {
    document.documentElement.lang = table().locale;
    for (const element of root.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
    for (const element of root.querySelectorAll("[data-label]")) {
      element.setAttribute("aria-label", say(element.dataset.label));
    }
  }

  return { say, name, number, count, showTime, forTimeline, change, apply, LANGUAGES };
})();
