"""The page in a real Chromium: seen by everybody, used by keyboard, and nothing in it runs that it shows."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import ClientRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.types import ElicitRequestParams, ElicitResult, ToolAnnotations
from playwright.async_api import Browser, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from bridge.host.page.document import join
from tests.cli.test_runs import ask_offline, list_ids
from tests.external.onlooker import Onlooker, onlooking, open_chromium
from tests.fakes.commands import run
from tests.fakes.hostile import HOSTILE, READABLE
from tests.fakes.service import serving_app
from tests.fakes.upstream import Reply, Request, call, gated, message, responds
from tests.fakes.watched import ANN, BOB, OLE, Watched, watched

pytestmark = [pytest.mark.anyio, pytest.mark.external]

ASKED = "Read the list and write it down."
READS = ToolAnnotations(read_only_hint=True)
MARKUP = [
    "<script>alert(1)</script>",
    "</script></style></textarea><img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "' onmouseover='alert(4)",
    "javascript:alert(5)",
    "<iframe src=//evil.example></iframe>",
    "{{constructor.constructor('alert(6)')()}} ${alert(7)} __proto__",
    "W" * 3000,
]


class Desk:
    """A server whose `read` runs unasked, and whose `write` needs a yes; `written` is what it wrote."""

    def __init__(self, *texts: str) -> None:
        self.written: list[str] = []
        self.texts = texts or ("one",)
        self.ending = anyio.Event()
        """Set when the model may go on with its last answer."""
        self.answer = "It is done, and this is what came of it."
        self._server = MCPServer("desk")
        self._server.tool(annotations=READS)(self.read)
        self._server.tool()(self.write)

    async def read(self, name: str) -> str:
        """Read something."""
        return f"read {name}"

    async def write(self, text: str) -> str:
        """Write something."""
        self.written.append(text)
        return f"wrote {text}"

    @property
    def servers(self) -> Mapping[str, Any]:
        return {"desk": {"command": self._server, "require_approval": "writes"}}

    def model(self, request: Request) -> Reply:
        """It reads and writes, and then answers word by word when it may."""
        if any("output" in item for item in request.json["input"]):
            return gated(responds(message(self.answer)), self.ending, after="response.output_text.delta")
        writes = [call("desk__write", {"text": text}) for text in self.texts]
        return responds(call("desk__read", {"name": "the list"}), *writes)

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[Watched]:
        async with watched(self.model, self.servers, **options) as at:
            yield at


class Silent:
    """A person at a host who sees a question there and says nothing, until they may."""

    def __init__(self) -> None:
        self.may_answer = anyio.Event()

    async def __call__(self, _context: ClientRequestContext, _params: ElicitRequestParams) -> ElicitResult:
        await self.may_answer.wait()
        return ElicitResult(action="decline")


@asynccontextmanager
async def asking(at: Watched, input: str = ASKED, person: Any = None) -> AsyncIterator[None]:
    """A host of Ann's whose call goes on meanwhile."""
    ask = person or Silent()
    async with at.host(ANN, "legacy", elicitation_callback=ask) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(host.call_tool, "respond", {"input": input}))
        yield
        tasks.cancel_scope.cancel()


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with open_chromium() as browser:
        yield browser


@asynccontextmanager
async def looking(browser: Browser, repository: Path, at: Watched, **options: Any) -> AsyncIterator[Onlooker]:
    """Somebody who looks at the page of this service; at the end the browser has complained of nothing."""
    async with onlooking(browser, repository, f"http://127.0.0.1:{at.served.port}/", **options) as looker:
        yield looker
        assert looker.faults == []


async def test_a_person_follows_a_run_by_keyboard_from_the_first_call_to_a_yes_to_the_answer(
    chromium: Browser, repository: Path
) -> None:
    desk = Desk()
    async with desk.open() as at, looking(chromium, repository, at) as looker, AsyncExitStack() as stack:
        page = looker.page
        await looker.open(ANN)
        await expect(page.get_by_text("No runs yet")).to_be_visible()
        await stack.enter_async_context(asking(at))
        # What waits is on top, with the exact call; the list has the run below it.
        waiting = page.get_by_role("region", name="A call waits for a yes")
        await expect(waiting.get_by_text('{"text":"one"}')).to_be_visible()
        await expect(page).to_have_title("(1) Runs · mcp-responses-bridge")
        yes = waiting.get_by_role("button", name="Yes, run it: write of desk")
        await expect(yes).to_be_enabled()
        assert desk.written == []
        await looker.tab_to(yes)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("You said yes to write of desk.").first).to_be_visible()
        await expect(page.get_by_role("heading", name="Nothing waits for a yes any more")).to_be_focused()
        # Then the run itself: while the answer is being written its beginning is there.
        await looker.tab_to(page.get_by_role("link", name=ASKED))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="going on")).to_be_focused()
        assert desk.written == ["one"]
        await expect(page.get_by_role("region", name="The answer so far").locator("pre")).not_to_be_empty()
        bars = page.get_by_role("table", name="Turns and calls in time")
        await expect(bars.get_by_role("rowheader")).to_have_text(
            ["Turn 1 gpt-4.1", "desk__read desk", "desk__write desk", "Turn 2 gpt-4.1 goes on"], use_inner_text=True
        )
        write = bars.get_by_role("button", name="desk__write")
        await looker.tab_to(write)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("region", name="Arguments").get_by_text('{"text": "one"}')).to_be_visible()
        await expect(page.get_by_role("region", name="What came back").get_by_text("wrote one")).to_be_visible()
        # The end comes by itself, and takes neither the focus nor what was opened.
        desk.ending.set()
        await expect(page.get_by_role("region", name="The answer").get_by_text(desk.answer)).to_be_visible()
        await expect(page.get_by_role("heading", level=1, name="completed")).to_be_visible()
        await expect(page.locator("#aloud")).to_have_text("The run has ended: completed")
        await expect(write).to_be_focused()
        await expect(page.get_by_role("region", name="What came back")).to_be_visible()


async def test_axe_finds_nothing_and_nobody_scrolls_to_the_side_in_any_state(
    chromium: Browser, repository: Path
) -> None:
    desk = Desk("one", "two")
    down = {"url": "http://127.0.0.1:9/mcp"}
    servers = {**desk.servers, "gone": down}
    async with watched(desk.model, servers) as at, looking(chromium, repository, at) as looker:
        page = looker.page
        await page.goto(f"http://127.0.0.1:{at.served.port}/")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await looker.examine()
        await looker.sign_in(ANN)
        await expect(page.get_by_text("No runs yet")).to_be_visible()
        await looker.examine()
        async with asking(at):
            waiting = page.get_by_role("region", name="2 calls wait for a yes")
            await expect(waiting).to_be_visible()
            await looker.examine()
            await page.get_by_role("list", name="Runs").get_by_role("link").click()
            await page.get_by_role("button", name="desk__read").click()
            await expect(page.get_by_text("read the list", exact=True)).to_be_visible()
            await looker.examine()
            await page.get_by_role("button", name="Cancel this run").click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            await looker.examine()
            await page.get_by_role("button", name="Cancel the run").click()
            await expect(page.get_by_role("heading", level=1, name="cancelled")).to_be_visible()
            await expect(page.get_by_text("was answered elsewhere, or its run has ended").first).to_be_visible()
            await looker.examine()
        await page.get_by_role("link", name="Servers").click()
        await page.get_by_text("Tools of desk").click()
        await expect(page.get_by_role("heading", name="gone")).to_be_visible()
        await looker.examine()
        await page.get_by_role("link", name="Today").click()
        await expect(page.get_by_role("rowheader", name="ann")).to_be_visible()
        await looker.examine()
        await page.goto(f"http://127.0.0.1:{at.served.port}/#/runs/run_{'0' * 32}")
        await expect(page.get_by_text("There is no such run, or it is not yours.")).to_be_visible()
        await looker.examine()
        await page.get_by_role("button", name="中文").click()
        await page.get_by_role("link", name="服务器").click()
        await expect(page.get_by_role("heading", level=1, name="服务器")).to_be_visible()
        await looker.examine()


async def test_a_run_full_of_hostile_texts_is_shown_and_none_of_it_runs(chromium: Browser, repository: Path) -> None:
    texts = [*MARKUP, *HOSTILE.values(), *READABLE.values()]
    texts = [text for text in texts if text.isprintable() or text.encode("utf-8", "ignore").decode() == text]
    desk = Desk("\n".join(texts))
    desk.answer = "\n".join(texts)
    desk.ending.set()
    async with desk.open() as at, looking(chromium, repository, at) as looker:
        page = looker.page
        await looker.open(ANN)
        async with asking(at, "\n".join(texts)):
            waiting = page.get_by_role("region", name="A call waits for a yes")
            await expect(waiting.locator("pre:not(.changed)")).to_contain_text(MARKUP[0])
            await page.get_by_role("list", name="Runs").get_by_role("link").click()
            await page.get_by_role("button", name="desk__write").click()
            await waiting.get_by_role("button", name="Yes, run it").click()
            await expect(page.get_by_role("heading", level=1, name="completed")).to_be_visible()
            for part in ("What was asked", "Arguments", "What came back", "The answer"):
                shown = await page.get_by_role("region", name=part, exact=True).locator("pre").inner_text()
                for text in MARKUP:
                    assert text in shown or json.dumps(text)[1:-1] in shown, part
                assert not set("\x1b\x9b\u202e\u2066\u200b") & set(shown)
            await looker.narrow()
        await page.get_by_role("link", name="← All runs").click()
        await expect(page.get_by_role("list", name="Runs").get_by_role("link")).to_be_visible()
        await looker.narrow()
        active = "img, svg, iframe, object, embed, base, form[action], [onerror], [onload], [onmouseover], body > style"
        assert await page.locator(active).count() == 0
        assert await page.locator("script").count() == join().html.count("<script")
        assert await page.evaluate("[...document.links].every((link) => link.protocol === location.protocol)")


async def test_a_second_click_is_no_answer_to_the_next_question(chromium: Browser, repository: Path) -> None:
    desk = Desk()
    async with desk.open() as at, looking(chromium, repository, at) as looker:
        await looker.open(ANN)
        async with asking(at), asking(at, "Write it again."):  # each run calls its question by the same name
            await expect(looker.page.get_by_role("heading", name="2 calls wait for a yes")).to_be_visible()
            first = looker.page.get_by_role("button", name="Yes, run it").first
            await expect(first).to_be_enabled()
            looks = "button => { const { backgroundColor, color, borderColor } = getComputedStyle(button); return "
            looks += "[backgroundColor, color, borderColor].join() }"
            no = looker.page.get_by_role("button", name="No, do not run it").first
            assert await first.evaluate(looks) == await no.evaluate(looks), "neither is the one to press"
            await first.dblclick()
            await expect(looker.page.get_by_role("heading", name="A call waits for a yes")).to_be_visible()
            await looker.page.keyboard.press("Enter")  # it is on no button, wherever the focus went
            await expect(looker.page.get_by_role("button", name="Yes, run it")).to_be_enabled()
            assert len(desk.written) == 1
            await looker.page.get_by_role("button", name="No, do not run it").click()
            await expect(looker.page.get_by_role("heading", name="Nothing waits for a yes any more")).to_be_visible()
            assert len(desk.written) == 1


async def test_a_question_that_was_answered_elsewhere_goes_with_a_word(chromium: Browser, repository: Path) -> None:
    desk, person = Desk(), Silent()
    async with (
        desk.open() as at,
        looking(chromium, repository, at) as looker,
        looking(chromium, repository, at) as operator,
    ):
        await looker.open(ANN)
        await operator.open(OLE)
        async with asking(at, person=person):
            for each in (looker, operator):
                await expect(each.page.get_by_role("heading", name="A call waits for a yes")).to_be_visible()
            await expect(operator.page.get_by_text("Only who asked can answer this")).to_be_visible()
            await expect(operator.page.get_by_role("button", name="Yes, run it")).to_be_hidden()
            person.may_answer.set()
            for each in (looker, operator):
                await expect(each.page.get_by_text("answered elsewhere").first).to_be_visible()
                await expect(each.page.get_by_role("button", name="Yes, run it")).to_be_hidden()
        assert desk.written == []


async def test_in_a_frame_it_shows_nothing(chromium: Browser, repository: Path) -> None:
    async with Desk().open() as at:
        inside = f"http://127.0.0.1:{at.served.port}/"

        async def show(_: Any) -> HTMLResponse:
            return HTMLResponse(f'<iframe src="{inside}"></iframe>')

        async with (
            serving_app(Starlette(routes=[Route("/", show)])) as outside,
            onlooking(chromium, repository, outside) as looker,
        ):
            await looker.page.goto(outside)
            await looker.page.wait_for_load_state("networkidle")
            frame = looker.page.frames[1]
            assert frame.url == "chrome-error://chromewebdata/"
            assert "mcp-responses-bridge" not in await frame.content()


class Line:
    """What is between the browser and the service, and can be cut."""

    def __init__(self) -> None:
        self.host = ""
        self._to = 0
        self._is_cut = True
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Whoever is connected is so no more, and nobody gets through."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self, port: int | None = None) -> None:
        """Let everybody through again, or to another port."""
        self._to = port or self._to
        self._is_cut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            return writer.transport.abort()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        self._writers -= {writer, far_writer}
        return None

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_a_reload_and_a_lost_connection_lose_nothing_and_the_loss_is_said(
    chromium: Browser, repository: Path
) -> None:
    desk = Desk()
    line = Line()
    async with line.open(), desk.open(hosts=[line.host]) as at:
        line.mend(at.served.port)
        async with onlooking(chromium, repository, f"http://{line.host}/") as looker:
            page = looker.page
            await looker.open(ANN)
            async with asking(at):
                await page.get_by_role("list", name="Runs").get_by_role("link").click()
                await page.get_by_role("button", name="Yes, run it").click()
                await expect(page.get_by_role("region", name="The answer so far").locator("pre")).not_to_be_empty()
                await page.reload()
                await expect(page.get_by_role("region", name="The answer so far").locator("pre")).not_to_be_empty()
                line.cut()
                await expect(page.get_by_role("status").first).to_contain_text("Connection lost")
                await looker.examine()
                desk.ending.set()
                line.mend()
                await expect(page.get_by_text(desk.answer)).to_be_visible()
                await expect(page.get_by_role("status").first).to_have_text("Live")


async def test_after_a_restart_somebody_signs_in_again_and_is_back_where_they_were(
    chromium: Browser, repository: Path, tmp_path: Path
) -> None:
    desk = Desk()
    desk.ending.set()
    kept = {"store": f"sqlite://{tmp_path / 'runs.sqlite'}"}
    line = Line()
    async with line.open(), desk.open(runs=kept, hosts=[line.host]) as before:
        line.mend(before.served.port)
        async with onlooking(chromium, repository, f"http://{line.host}/") as looker:
            page = looker.page
            await looker.open(ANN)
            async with asking(before):
                await page.get_by_role("button", name="Yes, run it").click()
                await page.get_by_role("list", name="Runs").get_by_role("link").click()
                await expect(page.get_by_text(desk.answer)).to_be_visible()
            line.cut()
            async with desk.open(runs=kept, hosts=[line.host]) as after:
                line.mend(after.served.port)
                await expect(page.get_by_text("You are no longer signed in.")).to_be_visible()
                await looker.sign_in(ANN)
                await expect(page.get_by_text(desk.answer)).to_be_visible()


async def test_a_hundred_runs_are_shown_and_older_ones_when_they_are_asked_for(
    chromium: Browser, repository: Path
) -> None:
    desk = Desk()
    async with watched() as at, looking(chromium, repository, at) as looker:
        async with at.host(BOB) as host:
            for number in range(103):
                await host.call_tool("respond", {"input": f"Number {number}"})
        await looker.open(BOB)
        runs = looker.page.get_by_role("list", name="Runs").get_by_role("listitem")
        await expect(runs).to_have_count(100)
        await expect(runs.first).to_contain_text("Number 102")
        older = looker.page.get_by_role("button", name="Show older ones")
        await older.focus()
        await looker.page.keyboard.press("Enter")
        await expect(runs).to_have_count(103)
        await expect(runs.nth(100).get_by_role("link")).to_be_focused()
        await expect(older).to_be_hidden()
        assert desk.written == []
        # A filter is in the address, so that it can be sent.
        await looker.page.get_by_label("Status").select_option("failed")
        await expect(looker.page.get_by_text("No runs are like that.")).to_be_visible()
        await expect(looker.page).to_have_url(f"http://127.0.0.1:{at.served.port}/#/runs?status=failed")


async def test_a_long_answer_is_read_page_by_page(chromium: Browser, repository: Path) -> None:
    whole = "".join(f"{number} 🙂 and so on, line by line\n" for number in range(2000))

    def model(_: Request) -> Reply:
        return responds(message(whole))

    async with watched(model) as at, looking(chromium, repository, at) as looker:
        run_id = (await at.ask(ANN))["run_id"]
        await looker.open(ANN, f"#/runs/{run_id}")
        answer = looker.page.get_by_role("region", name="The answer")
        await expect(answer.get_by_text("20,000 of")).to_be_visible()
        more = answer.get_by_role("button", name="Show more")
        await more.focus()
        while await more.count():
            before = await answer.locator("pre").text_content() or ""
            await looker.page.keyboard.press("Enter")
            await expect(answer.locator("pre")).not_to_have_text(before, use_inner_text=False)
        assert await answer.locator("pre").text_content() == whole


async def test_the_language_is_that_of_the_browser_until_somebody_chooses(chromium: Browser, repository: Path) -> None:
    async with watched() as at, looking(chromium, repository, at, language="zh-CN") as looker:
        page = looker.page
        await page.goto(f"http://127.0.0.1:{at.served.port}/")
        await expect(page.get_by_role("heading", name="登录")).to_be_visible()
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        await page.get_by_role("button", name="English").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_both_languages_have_the_same_words(chromium: Browser, repository: Path) -> None:
    async with watched() as at, looking(chromium, repository, at) as looker:
        await looker.page.goto(f"http://127.0.0.1:{at.served.port}/")
        names = await looker.page.evaluate("Object.values(Words.LANGUAGES).map((words) => Object.keys(words).sort())")
        english, chinese = ({name for name in words if not name.endswith("_one")} for words in names)
        assert english == chinese


async def test_a_file_of_one_run_is_the_same_page_and_asks_for_nothing(
    chromium: Browser, repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await ask_offline(capfd, "What time is it?")
    [run_id] = await list_ids(capfd)
    file = tmp_path / "run.html"
    await run(capfd, "runs", "show", run_id, "--html", str(file))
    async with onlooking(chromium, repository, file.as_uri()) as looker:
        await looker.page.goto(file.as_uri())
        await expect(looker.page.get_by_text("What time is it?")).to_be_visible()
        await looker.page.get_by_role("button", name="current_time").click()
        await expect(looker.page.get_by_role("region", name="What came back").locator("pre")).not_to_be_empty()
        await looker.examine()
        await looker.page.get_by_role("button", name="中文").click()
        await expect(looker.page.get_by_role("heading", name="问了什么")).to_be_visible()
        assert [request for request in looker.requests if not request.startswith("data:")] == [file.as_uri()]
        assert looker.faults == []
