"""The timeline in a chat, in a real browser: the official package is the host, and the frame may do nothing but run
scripts."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, types
from mcp.client import advertise

from bridge.host.mcp_app.names import APP_TYPE, APPS, TIMELINE, URI
from tests.external.chat import Chat, open_chat
from tests.external.conftest import Find, RunNode
from tests.external.test_tasks import serve, write
from tests.external.test_typescript_clients import open_target, write_config
from tests.fakes.bridges import open_without_host
from tests.fakes.items import Json
from tests.fakes.servers import rogue
from tests.fakes.upstream import ScriptedUpstream, call, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

HERE = Path(__file__).parent
SHOWS_APPS = advertise(APPS, {"mimeTypes": [APP_TYPE]})
EVIL = "<img src=x onerror='parent.hacked=hacked=1'></script><script>hacked=1</script>"


@pytest.fixture
async def bundle(run_node: RunNode, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The host's side as one script, which is made once."""
    file = tmp_path_factory.getbasetemp() / "app-host.js"
    if not file.exists():
        script = (HERE / "app_bundle.mjs").read_text(encoding="utf-8")
        source = str(HERE / "app_host.mjs")
        done = await run_node("node", "--input-type=module", "--eval", script, source, str(file))
        assert done.returncode == 0, done.stderr
    return file.read_text(encoding="utf-8")


@pytest.fixture
async def axe(peer: Find) -> str:
    return (Path(peer("node")).parents[1] / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def dump(model: Any) -> Json:
    dumped: Json = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped


async def run(script: Any, servers: Any = None, **arguments: Any) -> tuple[str, Json, Json]:
    """The page, and the arguments and the result of a real run."""
    given = {"input": "What is there?", **arguments}
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, servers, limits={"max_tool_calls": 500}) as bridge,
        Client(bridge.server, extensions=[SHOWS_APPS]) as client,
    ):
        [page] = (await client.read_resource(URI)).contents
        result = await client.call_tool("respond", given)
    assert isinstance(page, types.TextResourceContents)
    return page.text, given, dump(result)


NOTHING: Json = {}
USED = {"input_tokens": 1200, "output_tokens": 34, "total_tokens": 1234}
GOOD = {"good": rogue("good") | {"require_approval": "never"}}
SCRIPT = [
    responds(call("good__echo", {"text": "a"}), call("good__echo", {"text": "b"}), call("nobody", {}), usage=USED),
    responds(message("Done."), usage=USED),
]


@pytest.mark.parametrize(
    ("locale", "theme", "width", "running", "done", "turn"),
    [
        ("en-GB", "light", 360, "The other model is at work", "Done", "Turn 1"),
        ("zh-Hans-CN", "dark", 900, "另一个模型正在工作", "已完成", "第 1 轮"),
    ],
)
async def test_a_run_is_drawn_in_the_language_and_the_colours_of_the_host_and_axe_finds_nothing(
    bundle: str, axe: str, locale: str, theme: str, width: int, running: str, done: str, turn: str
) -> None:
    html, arguments, result = await run(SCRIPT, GOOD)
    async with open_chat(bundle, width=width) as chat:
        await chat.open(html, locale=locale, theme=theme)
        await chat.hand("sendToolInput", {"arguments": arguments})
        await chat.status(running)
        assert await chat.text("#input") == "What is there?"
        assert await chat.audit(axe) == []
        await chat.hand("sendToolResult", result)
        await chat.status(done)
        names = await chat.frame.locator(".timeline-title").all_inner_texts()
        rows = chat.frame.locator(".timeline-row[data-state]")
        states = await rows.evaluate_all("rows => rows.map((row) => row.dataset.state)")
        assert names[:4] == [turn, "good__echo", "good__echo", "nobody"]
        assert states == ["done", "done", "done", "failed", "done"]
        assert "2,468" in await chat.text("#sums")
        assert await chat.audit(axe) == []
        assert await chat.frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
        before = await chat.frame.evaluate("getComputedStyle(document.body).backgroundColor")
        await chat.page.evaluate("theme => bridge.setHostContext({ theme })", {"light": "dark", "dark": "light"}[theme])
        await chat.frame.wait_for_function(f"getComputedStyle(document.body).backgroundColor !== '{before}'")
        assert await chat.audit(axe) == []
        assert (await chat.seen("app"))["name"] == "mcp-responses-bridge"
        assert await chat.page.evaluate("bridge.teardownResource({})") == {}


async def show(chat: Chat, given: tuple[str, Json, Json], status: str, **changes: Any) -> None:
    """Open the app and hand over a run, until it says so; `changes` are to the result."""
    html, arguments, result = given
    await chat.open(html, locale="en")
    await chat.hand("sendToolInput", {"arguments": arguments})
    await chat.hand("sendToolResult", {**result, **changes})
    await chat.status(status)


async def test_texts_that_would_run_are_shown_and_run_nothing(bundle: str) -> None:
    """In the prompt, in names of tools and servers, in the model's name, in what failed, and in what a host adds."""
    script = [
        responds(call(EVIL, {}), call(f"good__{EVIL}", {"text": EVIL}), model=EVIL),
        responds(message(EVIL), model=EVIL),
    ]
    html, arguments, result = await run(script, GOOD, input=EVIL)
    changes = {"error": {"message": EVIL}, "turns": EVIL, "usage": {"total_tokens": EVIL}}
    hostile = result["structuredContent"] | changes
    async with open_chat(bundle) as chat:
        await show(chat, (html, arguments, result), "Done")
        names = await chat.frame.locator(".timeline-title").all_inner_texts()
        assert any(EVIL[:20] in name for name in names), names
        assert EVIL[:20] in await chat.text("#input")
        await chat.hand("sendToolResult", {**result, "structuredContent": hostile, "_meta": {}})
        await chat.frame.wait_for_selector("#error:not(:empty)")
        assert EVIL[:20] in await chat.text("#error")
        assert await chat.frame.evaluate("[typeof hacked, document.images.length, document.scripts.length]") == [
            "undefined",
            0,
            html.count("<script>"),
        ]
        assert await chat.page.evaluate("typeof hacked") == "undefined"


async def test_markup_that_got_in_all_the_same_would_not_run_either(bundle: str) -> None:
    """The page's own policy holds in a host that sets none; with the policy taken out it runs. What a host itself puts
    before all else, as VS Code does, runs."""
    html, _, _ = await run(SCRIPT, GOOD)
    planted = html.replace("</main>", "</main><script>document.title = 'planted'</script>")
    bare = planted.replace('http-equiv="Content-Security-Policy"', "")
    early = html.replace("<head>", "<head><script>document.documentElement.dataset.early = 'yes'</script>")
    assert len({html, planted, bare, early}) == 4
    async with open_chat(bundle, policy="script-src 'self' 'unsafe-inline'") as chat:
        for document, title in ((planted, "mcp-responses-bridge"), (bare, "planted")):
            await chat.open(document)
            assert await chat.frame.title() == title
        await chat.open(early)
        assert await chat.frame.evaluate("document.documentElement.dataset.early") == "yes"
        chat.faults = [fault for fault in chat.faults if "Content Security Policy" not in fault]


async def test_a_host_that_keeps_the_times_or_everything_to_itself_still_gets_a_picture(bundle: str) -> None:
    """Some drop `_meta`, some `structuredContent`, some both, and some write what no schema allows."""
    html, arguments, result = given = await run(SCRIPT, GOOD)
    async with open_chat(bundle) as chat:
        for meta in ({TIMELINE: {"timeline": "5 spans"}}, NOTHING):
            await show(chat, given, "Done", _meta=meta)
            assert len(await chat.frame.locator(".timeline-row[data-state]").all()) == 5
            assert "left out the times" in await chat.text("#hint")
        await show(chat, (html, arguments, {"content": result["content"]}), "Over; this host hands over no details")
        assert await chat.frame.locator("#bars").is_hidden()
        await chat.page.wait_for_function("parseInt(document.querySelector('iframe').style.height) > 30")
        odd = {"content": [{"type": "image", "source": {"type": "base64"}}], "isError": True}
        await chat.say({"method": "ui/notifications/tool-result", "params": odd})
        await chat.status("Failed")


async def test_what_the_page_does_not_know_is_refused_and_it_goes_on(bundle: str) -> None:
    html, arguments, _ = await run(SCRIPT, GOOD)
    async with open_chat(bundle) as chat:
        await chat.open(html, locale="en")
        answers = await chat.page.evaluate(
            """async (methods) => {
                const answers = {};
                for (const [n, method] of methods.entries()) {
                    const heard = new Promise((resolve) => window.addEventListener("message", ({ data }) => {
                        if (data.id === `odd ${n}`) resolve(data);
                    }));
                    frames[0].postMessage({ jsonrpc: "2.0", id: `odd ${n}`, method, params: null }, "*");
                    const { error, result } = await heard;
                    answers[method] = error ? error.code : result;
                }
                return answers;
            }""",
            ["ping", "tools/call", "toString", "constructor"],
        )
        await chat.page.evaluate("host.seen.errors = []")  # the official package heard answers to what it never asked
        assert answers == {"ping": {}, "tools/call": -32601, "toString": -32601, "constructor": -32601}
        for odd in ({"method": "ui/notifications/other"}, {"method": "toString", "params": 5}, {"id": 1}):
            await chat.say(odd)
        await chat.hand("sendToolInput", {"arguments": arguments})
        await chat.frame.get_by_text("What is there?").wait_for()


STATUSES = {
    "incomplete": "Stopped before the end",
    "in_progress": "Goes on",
    "of a later version": "of a later version",
}


async def test_each_status_has_its_words(bundle: str) -> None:
    html, arguments, result = given = await run([responds(message("Done."))])
    async with open_chat(bundle) as chat:
        failure = result["structuredContent"] | {"status": "failed", "error": {"message": "no such model"}}
        await show(chat, given, "Failed", structuredContent=failure)
        assert await chat.text("#error") == "no such model"
        for status, words in STATUSES.items():
            await show(chat, given, words, structuredContent=result["structuredContent"] | {"status": status})
        assert await chat.text("#error") == ""
        await chat.open(html, locale="en")
        await chat.hand("sendToolInput", {"arguments": arguments})
        await chat.hand("sendToolCancelled", {"reason": "user action"})
        await chat.status("Stopped")


async def test_the_frame_comes_to_rest_at_the_height_of_a_long_run(bundle: str) -> None:
    """A host that makes the frame as high as it is told never makes it tell another height: it does not shrink pixel by
    pixel, and does not stay at the height of the first words."""
    calls = [call("good__echo", {"text": str(n)}) for n in range(60)]
    given = await run([responds(*calls), responds(message("Done."))], GOOD)
    async with open_chat(bundle, width=360) as chat:
        await show(chat, given, "Done")
        await chat.page.wait_for_function("host.seen.heights.at(-1) > 400")
        settled = await chat.seen("heights")
        for _ in range(3):  # frames in which a loop would go on
            await chat.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert await chat.seen("heights") == settled
        assert await chat.frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "all of it is seen"
        assert await chat.frame.evaluate("document.querySelector('#bars').scrollHeight > 600")


async def test_a_host_that_refuses_the_app_is_not_told_that_all_is_well(bundle: str) -> None:
    """And what another window says is not heard."""
    html, _, _ = await run(SCRIPT, GOOD)
    async with open_chat(bundle) as chat:
        heard = await chat.page.evaluate(
            """async (html) => {
                const heard = [];
                const frame = document.createElement("iframe");
                frame.setAttribute("sandbox", "allow-scripts");
                const asked = new Promise((resolve) => window.addEventListener("message", ({ data }) => {
                    heard.push(data.method);
                    if (data.method === "ui/initialize") resolve(data);
                }));
                document.body.append(frame);
                frame.srcdoc = html;
                const { id } = await asked;
                const error = { code: -32603, message: "no" };
                frame.contentWindow.postMessage({ jsonrpc: "2.0", id, error }, "*");
                return heard;
            }""",
            html,
        )
        await chat.status("This host does not show the run")
        await chat.frame.evaluate(
            """window.dispatchEvent(new MessageEvent("message", { source: window, data: {
                jsonrpc: "2.0", method: "ui/notifications/tool-cancelled", params: {} } }))"""
        )
        await chat.status("This host does not show the run")
        assert "ui/notifications/initialized" not in await chat.seen("log")
        assert "ui/initialize" in heard


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_process_of_its_own_serves_the_page_in_both_eras(mode: Any, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream([responds(message("Done."))]) as upstream,
        serve("stdio", write(tmp_path, upstream), mode, extensions=[SHOWS_APPS]) as client,
    ):
        [respond, *_] = (await client.list_tools()).tools
        [page] = (await client.read_resource((respond.meta or {})["ui"]["resourceUri"])).contents
        result = await client.call_tool("respond", {"input": "x"})
    assert (page.uri, page.mime_type) == (URI, APP_TYPE)
    assert len((result.meta or {})[TIMELINE]["timeline"]) == 1


@pytest.mark.parametrize(
    ("major", "mode", "transport"),
    [("1", "legacy", "stdio"), ("1", "legacy", "mcp"), ("2", "auto", "stdio"), ("2", "auto", "mcp")],
)
async def test_the_typescript_clients_read_it(
    major: str, mode: str, transport: str, run_node: RunNode, tmp_path: Path
) -> None:
    """Version 1 knows no `extensions`, so it sends the declaration unread. The keys of the page are those that the
    official package reads."""
    script = (HERE / "app.mjs").read_text(encoding="utf-8")
    async with ScriptedUpstream([responds(message("Done."))]) as upstream:
        config = write_config(tmp_path, upstream)
        async with open_target(transport, config) as target:
            done = await run_node("node", "--input-type=module", "--eval", script, major, mode, *target)
    assert done.returncode == 0, done.stderr
    saw = json.loads(done.stdout)
    assert (saw["uri"], saw["type"], saw["announced"]) == (URI, APP_TYPE, True)
    assert saw["page"].startswith("<!DOCTYPE html>")
    assert saw["spans"] == 1
