"""What connected servers ask back and log: relayed to the one person who can be meant, or answered in words."""

import base64
import logging
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from mcp import Client, UrlElicitationRequiredError, types
from mcp.client import ClientRequestContext
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from bridge.app import Bridge
from bridge.config.settings import Config, Limits, ServerConfig, UpstreamConfig
from bridge.hub.server_requests import LINE_CHARS, LINES, LINES_S, PAGE_S, ServerRequests
from bridge.questions import Answer, Question, approve
from bridge.run.asking import MAX_QUESTIONS
from bridge.telemetry import Redactor
from tests.fakes.bridges import ERAS, open_bridge, outputs_of
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.rawhost import raw_host
from tests.fakes.servers import rogue
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

PAGE = "https://shop.example:8443/sign-in?state=1"
SCHEMA = {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}
QUESTION = types.ElicitRequest(
    params=types.ElicitRequestFormParams(message="How many seats?\u202e", requested_schema=SCHEMA)
)


class Seats(BaseModel):
    seats: int


class Shop:
    """A server with tools that ask, in either era; `together` of its calls are in flight before one asks."""

    def __init__(self, together: int = 1) -> None:
        self.server = MCPServer("shop")
        self._together = together
        self._count = 0
        self._all_here = anyio.Event()
        for tool in (self.push, self.come_back, self.ask_for_ever, self.open_page, self.sample, self.list_roots):
            self.server.add_tool(tool, structured_output=False)
        for tool in (self.page_first, self.pages_for_ever, self.two_pages_first, self.page_come_back):
            self.server.add_tool(tool, structured_output=False)
        self.address = PAGE
        self.tries = 0
        self.server.add_tool(self.nag, structured_output=False)
        self.server.add_tool(self.roots_first, structured_output=False)

    async def push(self, ctx: Context) -> str:
        """Ask as in the handshake era."""
        await self._meet()
        answer = await ctx.elicit("How many seats?\u202e", Seats)
        return f"{answer.action} {answer.data.seats if answer.action == 'accept' else ''}".strip()

    async def come_back(self, ctx: Context) -> str | types.InputRequiredResult:
        """Ask as in the modern era."""
        if not ctx.input_responses:
            await self._meet()
            return types.InputRequiredResult(input_requests={"q": QUESTION}, request_state="half")
        answer = ctx.input_responses["q"]
        assert isinstance(answer, types.ElicitResult)
        assert ctx.request_state == "half"
        return f"{answer.action} {(answer.content or {}).get('seats', '')}".strip()

    async def ask_for_ever(self) -> types.InputRequiredResult:
        return types.InputRequiredResult(input_requests={"q": QUESTION})

    async def roots_first(self) -> types.InputRequiredResult:
        return types.InputRequiredResult(input_requests={"r": types.ListRootsRequest()})

    async def open_page(self, ctx: Context) -> str:
        return (await ctx.session.elicit_url("Log in\u202e", self.address, "1", ctx.request_id)).action

    async def page_first(self, ctx: Context) -> str:
        """Not executed until the page is done with; says so while the next try waits."""
        self.tries += 1
        if self.tries == 1:
            self.completes = partial(ctx.session.send_elicit_complete, "2")
            raise self._require("2")
        return f"executed at try {self.tries}"

    async def pages_for_ever(self) -> str:
        self.tries += 1
        raise self._require(str(self.tries))

    async def two_pages_first(self) -> str:
        self.tries += 1
        if self.tries == 1:
            raise UrlElicitationRequiredError([self._ask("1"), self._ask("2")])
        return f"executed at try {self.tries}"

    async def page_come_back(self, ctx: Context) -> str | types.InputRequiredResult:
        """Have a page opened as in the modern era."""
        if not ctx.input_responses:
            asked = types.ElicitRequestURLParams(message="Log in\u202e", url=self.address)
            return types.InputRequiredResult(input_requests={"p": types.ElicitRequest(params=asked)})
        answer = ctx.input_responses["p"]
        assert isinstance(answer, types.ElicitResult)
        assert answer.content is None
        return answer.action

    def _require(self, page_id: str) -> UrlElicitationRequiredError:
        return UrlElicitationRequiredError([self._ask(page_id)])

    def _ask(self, page_id: str) -> types.ElicitRequestURLParams:
        return types.ElicitRequestURLParams(message="Log in", url=self.address, elicitation_id=page_id)

    async def sample(self, ctx: Context) -> str:
        asked = types.CreateMessageRequestParams(messages=[], max_tokens=5)
        await ctx.session.send_request(types.CreateMessageRequest(params=asked), types.CreateMessageResult)
        return "sampled"

    async def list_roots(self, ctx: Context) -> str:
        await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
        return "listed"

    async def nag(self, ctx: Context) -> str:
        answers = [(await ctx.elicit("More?", Seats)).action for _ in range(MAX_QUESTIONS)]
        await ctx.elicit("And more?", Seats)
        return str(len(answers))

    async def _meet(self) -> None:
        self._count += 1
        if self._count == self._together:
            self._all_here.set()
        with anyio.fail_after(PATIENCE_S):
            await self._all_here.wait()


class Person:
    """An elicitation callback that gives one answer to everything."""

    def __init__(self, action: Any = "accept") -> None:
        self.shown: list[str] = []
        self.opened: list[str] = []
        self._result = types.ElicitResult(action=action, content={"seats": 4} if action == "accept" else None)

    async def __call__(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert context.request_id is not None
        self.shown.append(params.message)
        if isinstance(params, types.ElicitRequestURLParams):
            self.opened.append(params.url)
            return types.ElicitResult(action=self._result.action)
        return self._result


class Place:
    """A bridge in front of the shop, whose model calls the tool that the prompt names, once; `outputs` are what it was
    told."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.bridge: Bridge
        self.clock: VirtualClock

    def answer(self, request: Request) -> Any:
        items = request.json["input"]
        if any("output" in item for item in items):
            self.outputs += outputs_of(request)
            return responds(message("done"))
        return responds(call(f"shop__{items[0]['content'].split()[0]}"))

    async def use(
        self, tool: str, *, mode: ConnectMode = "auto", person: Person | None = None, wait: bool = False
    ) -> Json:
        """The receipt of a run; with `wait`, of one that goes on longer than a call may."""
        async with Client(self.bridge.server, mode=mode, elicitation_callback=person) as client:
            receipt = (await client.call_tool("respond", {"input": tool})).structured_content
            while wait and receipt and receipt["status"] == "in_progress":
                receipt = (await client.call_tool("respond_wait", {"run_id": receipt["run_id"]})).structured_content
        assert receipt is not None
        return receipt


@asynccontextmanager
async def place(server: MCPServer, era: str = "legacy", redact: Redactor | None = None) -> AsyncIterator[Place]:
    at = Place()
    async with ScriptedUpstream(at.answer) as upstream:
        config = Config(
            upstream=UpstreamConfig(model="m", base_url=upstream.base_url),
            servers=(ServerConfig(key="shop", command="in this process", require_approval="never", protocol=era),),
            limits=Limits(),
            builtin_tools=False,
        )
        at.clock = clock = VirtualClock()
        async with Bridge(config, environ={}, clock=clock, in_process={"shop": server}, redact=redact) as at.bridge:
            yield at
        assert not upstream.errors


@pytest.mark.rule("S20")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("tool", "era"), [("push", "legacy"), ("come_back", "auto")])
@pytest.mark.parametrize(("action", "output"), [("accept", "accept 4"), ("decline", "decline"), ("cancel", "cancel")])
async def test_a_servers_question_reaches_the_person_in_every_pair_of_eras(
    mode: ConnectMode, tool: str, era: str, action: str, output: str
) -> None:
    person = Person(action)
    async with place(Shop().server, era) as at:
        receipt = await at.use(tool, mode=mode, person=person)
    assert (at.outputs, receipt["status"]) == ([output], "completed")
    assert person.shown == ['The server "shop" asks: How many seats?\\u202e'], "who asks is said, and nothing is hidden"


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("tool", "era"), [("push", "legacy"), ("come_back", "auto")])
async def test_where_the_host_cannot_ask_the_question_is_declined_in_words(
    mode: ConnectMode, tool: str, era: str
) -> None:
    async with place(Shop().server, era) as at:
        receipt = await at.use(tool, mode=mode)
    assert "this host has no way to ask them" in at.outputs[0]
    assert receipt["tool_calls"][0]["is_error"], "it is not told as a no that nobody has said"


@pytest.mark.rule("S20")
@pytest.mark.parametrize(("tool", "era", "asked"), [("push", "legacy", 0), ("come_back", "auto", 2)])
async def test_with_two_runs_at_one_server_only_who_can_be_told_apart_is_asked(tool: str, era: str, asked: int) -> None:
    person = Person()
    async with place(Shop(together=2).server, era) as at, anyio.create_task_group() as tasks:
        for number in (1, 2):
            tasks.start_soon(lambda text: at.use(text, person=person), f"{tool} {number}")
    assert len(person.shown) == asked
    words = "several runs use this server" if asked == 0 else "accept 4"
    assert [words in str(output) for output in at.outputs] == [True, True]


@pytest.mark.rule("S20")
@pytest.mark.parametrize(
    ("tool", "era", "words"),
    [
        ("sample", "legacy", "Sampling not supported"),
        ("list_roots", "legacy", "List roots not supported"),
        ("roots_first", "auto", "shop requests roots/list, which is not supported here"),
        ("ask_for_ever", "auto", "shop returned questions instead of a result 10 times"),
        ("nag", "legacy", f"{MAX_QUESTIONS} questions in one run are enough"),
    ],
)
async def test_what_a_server_cannot_have_is_answered_in_words_and_the_run_goes_on(
    tool: str, era: str, words: str
) -> None:
    async with place(Shop().server, era) as at:
        receipt = await at.use(tool, mode="legacy", person=Person())
    assert words in at.outputs[0]
    assert receipt["status"] == "completed"


OPEN_PAGE = [("open_page", "legacy"), ("page_come_back", "auto")]


@pytest.mark.rule("S20")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("tool", "era"), OPEN_PAGE)
@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_a_page_that_a_server_wants_opened_is_the_persons_to_open_in_every_pair_of_eras(
    mode: ConnectMode, tool: str, era: str, action: str
) -> None:
    person = Person(action)
    async with place(Shop().server, era) as at:
        receipt = await at.use(tool, mode=mode, person=person)
    assert (at.outputs, receipt["status"]) == ([action], "completed")
    assert person.opened == [PAGE]
    assert person.shown == ['The server "shop" asks you to open a page of shop.example:8443: Log in\\u202e']


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("tool", "era"), OPEN_PAGE)
@pytest.mark.parametrize("capability", [{}, {"form": {}}])
async def test_where_the_host_opens_no_pages_that_is_said_and_nothing_is_opened(
    mode: ConnectMode, tool: str, era: str, capability: Json
) -> None:
    async with (
        place(Shop().server, era) as at,
        raw_host(at.bridge.server, mode, capabilities={"elicitation": capability}) as host,
    ):
        receipt = await host.receipt(await host.call("respond", {"input": tool}))
    assert "this host has no way to open a page" in at.outputs[0]
    assert (receipt["tool_calls"][0]["is_error"], host.asked) == (True, [])


async def test_a_host_that_opens_pages_and_shows_no_forms_is_asked_for_pages_alone() -> None:
    shop, opens = Shop(), {"elicitation": {"url": dict[str, str]()}}
    async with (
        place(shop.server) as at,
        raw_host(at.bridge.server, "legacy", capabilities=opens, answer=lambda _: {"action": "accept"}) as host,
    ):
        await host.result(await host.call("respond", {"input": "open_page"}))
        await host.result(await host.call("respond", {"input": "push"}))
    assert at.outputs[0] == "accept"
    assert "this host has no way to ask them" in at.outputs[1]
    assert [(asked["mode"], asked["url"]) for asked in host.asked] == [("url", PAGE)]
    assert host.asked[0]["elicitationId"], "required of the revision"


async def test_a_host_of_a_revision_without_pages_is_given_none_whatever_it_declares() -> None:
    async with (
        place(Shop().server) as at,
        raw_host(
            at.bridge.server, "legacy", capabilities={"elicitation": {"url": {}, "form": {}}}, version="2025-06-18"
        ) as host,
    ):
        await host.result(await host.call("respond", {"input": "open_page"}))
    assert "this host has no way to open a page" in at.outputs[0]
    assert host.asked == []


@pytest.mark.rule("S20")
@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_needs_a_page_first_is_repeated_when_the_server_says_that_it_is_done_with(
    mode: ConnectMode,
) -> None:
    shop, person = Shop(), Person()
    async with place(shop.server) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(at.use, "page_first", mode=mode, person=person))
        await until(lambda: bool(person.opened))
        await anyio.wait_all_tasks_blocked()
        assert shop.tries == 1, "it waits"
        await shop.completes()
    assert (at.outputs, person.opened) == (["executed at try 2"], [PAGE])


async def test_a_server_that_never_says_that_its_page_is_done_with_gets_the_call_again_after_a_time() -> None:
    shop, person = Shop(), Person()
    async with place(shop.server) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(at.use, "page_first", person=person, wait=True))
        await until(lambda: bool(person.opened))
        await anyio.wait_all_tasks_blocked()
        await at.clock.advance(PAGE_S)
        await until(lambda: bool(at.outputs))
    assert at.outputs == ["executed at try 2"]


async def test_a_call_that_needs_the_same_page_again_is_told_to_wait_for_the_person_and_they_are_asked_once() -> None:
    shop, person = Shop(), Person()
    async with place(shop.server) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(at.use, "pages_for_ever", person=person, wait=True))
        await until(lambda: bool(person.opened))
        await anyio.wait_all_tasks_blocked()
        await at.clock.advance(PAGE_S)
        await until(lambda: bool(at.outputs))
    assert "they are not done with it yet; call again once they say that they are" in at.outputs[0]
    assert (shop.tries, len(person.opened)) == (2, 1)


async def test_each_page_that_a_call_needs_is_asked_for_though_the_words_are_the_same() -> None:
    shop, person = Shop(), Person()
    async with place(shop.server) as at, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(at.use, "two_pages_first", person=person, wait=True))
        for count in (1, 2):
            await until(lambda count=count: len(person.opened) == count)
            await anyio.wait_all_tasks_blocked()
            await at.clock.advance(PAGE_S)
        await until(lambda: bool(at.outputs))
    assert at.outputs == ["executed at try 2"]


@pytest.mark.parametrize(
    ("person", "words"),
    [(None, "this host has no way to open a page"), (Person("decline"), "the user did not want to")],
)
async def test_a_call_whose_page_is_not_opened_was_not_executed_and_says_why(person: Person | None, words: str) -> None:
    shop = Shop()
    async with place(shop.server) as at:
        await at.use("page_first", person=person)
    assert words in at.outputs[0]
    assert "shop wants the user to open a page first ('Log in')" in at.outputs[0]
    assert "it was not executed" in at.outputs[0]
    assert shop.tries == 1


@pytest.mark.rule("S20")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://shop.example/", "it is not encrypted"),
        ("javascript:alert(1)", "it is no address of a web page"),
        ("file:///etc/passwd", "it is no address of a web page"),
        ("vscode://open/x", "it is no address of a web page"),
        ("https://", "it is no address of a web page"),
        ("https://2130706433/", "it is no address of a web page"),
        ("https://0x7f.1/", "it is no address of a web page"),
        ("https://bank.example@evil.example/", "it holds a user name before its host"),
        ("https://bank.example\\@evil.example/", "a character that is not seen, or that browsers do not read"),
        ("https://evil\n.example/", "a character that is not seen, or that browsers do not read"),
        ("https://evil.example/\u202egpj.exe", "a character that is not seen, or that browsers do not read"),
        ("https://evil.example:port/", "it is no address"),
        ("https://loc%61lhost/", "its host is written with escapes"),
        ("https://evil.example/" + "x" * 5000, "more than the 4,000 that a person can look at"),
        ("https://evil.example/?key=sk-secret-of-the-tests", "it holds a secret of the configuration"),
    ],
)
async def test_an_address_that_is_not_what_it_seems_is_shown_to_nobody(address: str, words: str) -> None:
    shop, person = Shop(), Person()
    shop.address = address
    async with place(shop.server, redact=Redactor(["sk-secret-of-the-tests"])) as at:
        await at.use("open_page", person=person)
    assert words in at.outputs[0]
    assert person.opened == []


@pytest.mark.parametrize(
    ("address", "opened", "host"),
    [
        ("https://xn--pple-43d.com/", "https://xn--pple-43d.com/", "xn--pple-43d.com"),
        ("https://\u0430pple.com/", "https://xn--pple-43d.com/", "xn--pple-43d.com"),
        ("https://EXAMPLE.com/\u00e9", "https://example.com/%C3%A9", "example.com"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x", "127.0.0.1:8080"),
        ("http://localhost/x", "http://localhost/x", "localhost"),
        ("https://[2001:db8::1]:1/%41?a=b&c=%20#d", "https://[2001:db8::1]:1/%41?a=b&c=%20#d", "[2001:db8::1]:1"),
    ],
)
async def test_the_host_that_is_shown_is_the_one_that_is_opened(address: str, opened: str, host: str) -> None:
    shop, person = Shop(), Person()
    shop.address = address
    async with place(shop.server) as at:
        await at.use("open_page", person=person)
    assert person.opened == [opened]
    assert f"open a page of {host}: " in person.shown[0]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8080/x",
        "https://localhost/",
        "https://localhost./",
        "http://app.localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://0.0.0.0/",
        "https://[::]/",
        "https://169.254.169.254/latest",
    ],
)
async def test_a_server_elsewhere_can_have_nothing_of_this_machine_opened(address: str) -> None:
    asked, clock = list[Question](), VirtualClock()

    async def note(question: Question) -> Answer:
        asked.append(question)
        return approve()

    server = ServerConfig(key="far", url="https://far.example/mcp", transport="http")
    requests = ServerRequests(server, clock, Redactor([]))
    with requests.during(note):
        params = types.ElicitRequestURLParams(message="Open", url=address, elicitation_id="1")
        answer = await requests.elicit(cast("Any", None), params)
    assert isinstance(answer, types.ErrorData)
    assert "it is on this machine or beside it" in answer.message
    assert asked == []


def talkative(lines: int, said: str = "sk-secret-of-the-tests") -> MCPServer:
    """Tool `talk()`: logs so many lines at each level."""
    server = MCPServer("talkative")

    @server.tool()
    async def talk(ctx: Context) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # logging is deprecated in the protocol; servers do it all the same
            for level in ("debug", "info", "warning", "error", "emergency"):
                for number in range(lines):
                    await ctx.session.send_log_message(
                        level,  # type: ignore[arg-type]
                        {"n": number, "key": said},
                        related_request_id=ctx.request_id,
                    )
        return "said"

    return server


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_what_a_server_logs_is_in_our_log_under_its_name_at_its_level_and_without_secrets(
    era: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bridge")
    async with place(talkative(1), era, Redactor(["sk-secret-of-the-tests"])) as at:
        await at.use("talk")
        await anyio.wait_all_tasks_blocked()
    logged = [
        (record.levelname, record.message) for record in caplog.records if record.name == "bridge.hub.server_requests"
    ]
    line = 'shop: {"n":0,"key":"***"}'
    assert logged == [(level, line) for level in ("INFO", "WARNING", "ERROR", "ERROR")]


async def test_what_is_logged_and_no_json_is_in_our_log_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = '{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": [NaN]}}'
    (tmp_path / "lines").write_bytes(base64.b64encode(said.encode()))
    entry = rogue("legacy", f"spoils={tmp_path / 'lines'}") | {"require_approval": "never"}
    async with open_bridge({"shop": entry}) as bridge:
        assert (await bridge.use(call("shop__spoil", {"line": 0}))).outputs == ["good"]
        await until(lambda: 'shop: ["NaN"]' in caplog.text)
    assert "Traceback" not in caplog.text


async def test_a_secret_that_a_long_line_of_log_is_cut_in_is_blanked_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "sk-secret-of-the-tests"
    for shown in range(0, len(secret), 5):
        async with place(talkative(1, "x" * (LINE_CHARS - 15 - shown) + secret), "legacy", Redactor([secret])) as at:
            await at.use("talk")
            await anyio.wait_all_tasks_blocked()
    assert caplog.records
    assert "sk-s" not in caplog.text


async def test_a_server_that_floods_the_log_is_left_out_after_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    async with place(talkative(1000)) as at:
        await at.use("talk")
        await anyio.wait_all_tasks_blocked()
        logged = [record.message for record in caplog.records if record.name == "bridge.hub.server_requests"]
    assert len(logged) <= LINES + 1
    assert logged[-1] == f"shop: more than {LINES} lines in {LINES_S:g} s; the rest is left out"
