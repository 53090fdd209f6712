"""The page of the service: what it shows of runs, whole and in parts, however many there are and whatever they say.

As NEXARA-oss/PulseStack#151 and wso2/vscode-extensions#828 (names of spans are markup, and data in the page ends its
script), ray-project/ray#22621 and SigNoz/signoz#3327 (a list of many is one reply, and takes minutes).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from bridge.app import Bridge
from bridge.events import Kept, TurnEnded
from bridge.host.page.listing import MOST
from bridge.host.page.words import PAGE_CHARS
from bridge.run.limits import Ending
from bridge.run.run import Run
from tests.fakes.clock import VirtualClock
from tests.fakes.hostile import HOSTILE, find_raw
from tests.fakes.items import call, message
from tests.fakes.service import TOKEN
from tests.fakes.upstream import Request, responds
from tests.fakes.watched import ANN, OLE, watched

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).parents[2] / "fakes" / "hostile_server.py"
NOON = 1_800_014_400.0
DONE: Ending = {"status": "completed", "reason": None, "error": None}


class Morning(VirtualClock):
    """A day like any other, on which nothing happens at midnight."""

    @override
    def time(self) -> float:
        return NOON + self.now()


def has_outputs(request: Request) -> bool:
    """Whether the model has been told what its calls came to."""
    return any("output" in item for item in request.json["input"] if isinstance(item, dict))


async def test_somebody_signs_in_and_sees_a_run_with_all_that_is_in_it() -> None:
    async with watched(people={}) as at, at.browser(TOKEN) as page:
        await at.ask(TOKEN, "What is it?")
        listed = await page.see("runs")
        [line] = listed["runs"]
        assert (line["prompt"], line["status"], line["questions"], line["turns"]) == ("What is it?", "completed", 0, 1)
        whole = await page.see(f"runs/{line['run_id']}")
        assert (whole["input"], whole["answer"]["text"]) == ({"text": "What is it?", "chars": 11}, "The answer.")
        [turn] = whole["timeline"]
        assert (turn["kind"], turn["turn"], turn["index"], turn["tokens"] > 0) == ("turn", 1, None, True)
        assert whole["axis"]["began"] <= turn["began"] <= turn["ended"] <= whole["axis"]["ended"] <= whole["now"]
        assert {name: whole[name] for name in ("remarks", "questions", "error", "notices")} == {
            "remarks": [],
            "questions": [],
            "error": None,
            "notices": [],
        }
        [used] = (await page.see("usage"))["principals"]
        assert (used["runs"], used["turns"], used["tokens"]) == (1, 1, line["tokens"])


async def test_a_call_is_a_bar_of_its_own_with_its_texts() -> None:
    def model(request: Request) -> Any:
        if not has_outputs(request):
            return responds(call("math_calculator", {"operation": "add", "a": 1, "b": 2}), call("nothing", "{"))
        return responds(message("3"))

    async with watched(model, builtin_tools=True) as at, at.browser(ANN) as page:
        await at.ask(ANN, "Add")
        [line] = (await page.see("runs"))["runs"]
        path = f"runs/{line['run_id']}"
        calls = [span for span in (await page.see(path))["timeline"] if span["kind"] == "call"]
        assert [(span["name"], span["turn"], span["index"], span["is_error"]) for span in calls] == [
            ("math_calculator", 1, 0, False),
            ("nothing", 1, 1, True),
        ]
        told = await page.see(f"{path}/texts/call/1/0/arguments")
        assert (json.loads(told["text"]), told["from"]) == ({"operation": "add", "a": 1, "b": 2}, 0)
        assert "3" in (await page.see(f"{path}/texts/call/1/0/output"))["text"]
        for part in ("call/1/2/output", "call/9/0/output", "call/1/0/other", "call/x/y/output", "", "events"):
            assert (await page.get(f"{path}/texts/{part}")).status_code == 404
        for start in ("-1", "x", "9" * 40):
            assert (await page.get(f"{path}/texts/input", params={"from": start})).status_code == 404
        servers = await page.see("servers")
        assert servers["servers"][0]["tokens"] == sum(tool["tokens"] for tool in servers["servers"][0]["tools"]) > 0


async def test_a_long_text_is_read_page_by_page_and_its_secrets_are_not_in_it() -> None:
    secret = "canary-of-the-service"
    text = "".join(f"line {number} ä\n" for number in range(5000)) + secret
    text = f"{text[: PAGE_CHARS - 7]}{secret}{text[PAGE_CHARS - 7 :]}"  # one of them across the end of a page
    people = {"ann": {"token": ANN}, "eve": {"token": secret}}

    def model(_: Request) -> Any:
        return responds(message(text))

    async with watched(model, people=people) as at, at.browser(ANN) as page:
        await at.ask(ANN, text)
        [line] = (await page.see("runs"))["runs"]
        whole = await page.see(f"runs/{line['run_id']}")
        for part in ("input", "answer"):
            pages = [whole[part]["text"]]
            while len("".join(pages)) < whole[part]["chars"]:
                told = await page.see(f"runs/{line['run_id']}/texts/{part}", **{"from": len("".join(pages))})
                assert (told["chars"], len(told["text"]) <= PAGE_CHARS) == (whole[part]["chars"], True)
                pages.append(told["text"])
            assert "".join(pages) == text.replace(secret, "***")


async def test_nothing_of_what_others_wrote_acts_on_who_looks(tmp_path: Path) -> None:
    """Names of tools, arguments, outputs, prompts and answers: each text of the corpus, in each of these places."""
    texts = [text.replace("\ud83d", "\ufffd") for text in HOSTILE.values()]
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    entry = {"command": sys.executable, "args": ["-S", "-E", str(SERVER), str(file)], "require_approval": "never"}

    def model(request: Request) -> Any:
        if not has_outputs(request):
            names = [tool["name"] for tool in request.json.get("tools", [])]
            return responds(*(call(name, {"text": text}) for name, text in zip(names, texts, strict=False)))
        return responds(message(" ".join(texts)))

    limits = {"max_turn_calls": 1000, "max_tool_calls": 1000, "max_tools": 1000, "tool_tokens": 10**7}
    async with watched(model, {"odd \u202e<b>": entry}, limits=limits) as at, at.browser(ANN) as page:
        await at.ask(ANN, " ".join(texts))
        [line] = (await page.see("runs"))["runs"]
        path = f"runs/{line['run_id']}"
        whole = await page.see(path)
        calls = [span for span in whole["timeline"] if span["kind"] == "call"]
        assert len(calls) > 5
        shown = [line, whole, await page.see("servers"), await page.see("usage")]
        for span in calls:
            for what in ("arguments", "output"):
                shown.append(await page.see(f"{path}/texts/call/{span['turn']}/{span['index']}/{what}"))
        for text in list_texts(shown):
            assert not find_raw(text.replace("\n", "").replace("\t", "")), text


def list_texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | tuple():
            for each in value:
                yield from list_texts(each)
        case dict():
            for name, each in value.items():
                yield name
                yield from list_texts(each)
        case _:
            pass


class Counted(list[Kept]):
    """Events of a run; `looks` counts how often anybody went through those of any run."""

    looks = 0

    @override
    def __iter__(self) -> Iterator[Kept]:
        Counted.looks += 1
        return super().__iter__()


def fill(bridge: Bridge, count: int) -> None:
    """Let there be so many runs of Ann's, as if they had been here; a tenth of them go on."""
    for number in range(count):
        run = Run(
            f"run_{number:05}", "principal ann", {"input": f"prompt {number}"}, created=NOON - 10_000 + number // 3
        )
        turn = TurnEnded(
            turn=1,
            response_id=None,
            model="m",
            usage=None,
            tokens=7,
            cost=0.5,
            is_estimated=False,
            output=[],
            at=run.created + 1,
        )
        run.events = Counted([turn])
        run.ending = DONE if number % 10 else None
        bridge.engine._runs[run.run_id] = run


@pytest.mark.external
async def test_a_list_of_ten_thousand_runs_is_read_page_by_page_and_only_what_is_shown_is_looked_into() -> None:
    async with watched(clock=Morning()) as at, at.browser(ANN) as page, at.browser(OLE) as ole:
        fill(at.bridge, 10_000)
        try:
            for reader in (page, ole):
                Counted.looks = 0
                first = await reader.see("runs")
                assert len(first["runs"]) == 100
                assert Counted.looks <= 2 * 100
                assert len(json.dumps(first)) < 100 * 600
            seen, before = list[str](), ""
            while before is not None:
                listed = await page.see("runs", limit=5000, before=before)
                assert len(listed["runs"]) <= MOST
                seen += [run["run_id"] for run in listed["runs"]]
                before = listed["before"]
            assert seen == [f"run_{number:05}" for number in reversed(range(10_000))]
            Counted.looks = 0
            going = await page.see("runs", status="in_progress", limit=50)
            assert [run["status"] for run in going["runs"]] == ["in_progress"] * 50
            assert Counted.looks <= 2 * 500
            nothing = await page.see("runs", status="failed")
            assert (nothing["runs"], nothing["before"] is None) == ([], False)
            [used] = (await page.see("usage"))["principals"]
            assert (used["runs"], used["tokens"], used["cost"]) == (10_000, 70_000, 5_000.0)
        finally:
            at.bridge.engine._runs.clear()


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"limit": "9" * 9}, {"before": "x"}])
async def test_a_query_that_is_none_is_one_sentence(query: dict[str, str]) -> None:
    async with watched() as at, at.browser(ANN) as page:
        refused = await page.get("runs", params=query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid")
        assert refused.json()["error"]["message"].endswith(".")


@pytest.mark.parametrize("store", ["sqlite", "memory"])
async def test_runs_of_before_a_restart_are_there_where_they_are_kept(store: str, tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path / 'runs.sqlite3'}" if store == "sqlite" else store
    async with watched(state=tmp_path, runs={"store": where}) as at:
        for prompt in ("one", "two", "three"):
            await at.ask(ANN, prompt)
        await at.ask(OLE, "of another")
    async with watched(state=tmp_path, runs={"store": where}) as at, at.browser(ANN) as ann, at.browser(OLE) as ole:
        await at.ask(ANN, "now")
        kept = ["three", "two", "one"] if store == "sqlite" else []
        listed = await ann.see("runs", limit=2)
        rest = await ann.see("runs", limit=5, before=listed["before"]) if listed["before"] else {"runs": []}
        assert [run["prompt"] for run in (*listed["runs"], *rest["runs"])] == ["now", *kept]
        assert len((await ole.see("runs"))["runs"]) == 1 + len(kept) + (store == "sqlite")
        for run in rest["runs"]:
            whole = await ann.see(f"runs/{run['run_id']}")
            assert (whole["answer"]["text"], whole["status"]) == ("The answer.", "completed")
        [used] = (await ann.see("usage"))["principals"]
        assert used["runs"] == 1 + len(kept)


def test_a_service_that_nobody_looks_at_imports_no_more_than_the_routes() -> None:
    words = (
        "import sys, bridge.host.http; print(*(name for name in sys.modules if name.startswith('bridge.host.page.')))"
    )
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["bridge.host.page.entry"]
