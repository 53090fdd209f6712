"""Which ended runs are kept: what they weigh in memory counts, for each principal and for all."""

import gc
import tracemalloc
from typing import Any

import pytest

from bridge.json_text import decode
from bridge.run.run import Run
from bridge.run.shelf import KEPT_S, Bounds, Shelf
from bridge.run.weight import weigh

SHAPES = {
    "a long text": '"' + "x" * 300_000 + '"',
    "empty lists": "[" + "[]," * 20_000 + "[]]",
    "empty objects": "[" + "{}," * 20_000 + "{}]",
    "small objects": "[" + '{"a":1.5},' * 20_000 + "{}]",
    "keys of their own": "{" + ",".join(f'"key {n}":{n}' for n in range(20_000)) + "}",
    "short texts": "[" + ",".join(f'"{n}"' for n in range(20_000)) + "]",
    "numbers": "[" + ",".join(str(n * 1000) for n in range(20_000)) + "]",
    "emoji": '"' + "🙂" * 50_000 + '"',
    "items": "[" + '{"type":"message","role":"user","content":[{"type":"input_text","text":"hello"}]},' * 3000 + "1]",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_weighs_about_what_it_takes_of_memory(shape: str) -> None:
    gc.collect()
    tracemalloc.start()
    run = Run("run_1", "ada", {"input": decode(SHAPES[shape])})
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 < weigh(run) / taken < 1.3


def test_what_is_there_twice_weighs_once() -> None:
    text = "x" * 100_000
    run = Run("run_1", "ada", {"input": [text, text], "instructions": text})
    assert weigh(run) < 110_000


def kept(shelf: Shelf, *puts: tuple[str, str, int]) -> list[str]:
    """Those of the runs (id, principal, weight), put one after the other, that are still there."""
    there = list[str]()
    for run_id, principal, weight in puts:
        dropped = shelf.put(run_id, principal, 0.0, weight)
        there = [each for each in [*there, run_id] if each not in dropped]
    return there


def many(principal: str, count: int, weight: int = 1) -> list[tuple[str, str, int]]:
    return [(f"{principal}{n}", principal, weight) for n in range(count)]


def test_of_one_principal_the_oldest_go_first() -> None:
    assert kept(Shelf(each=Bounds(3, 100)), *many("a", 5)) == ["a2", "a3", "a4"]
    assert kept(Shelf(each=Bounds(9, 100)), *many("a", 5, 40)) == ["a2", "a3", "a4"], "two, and the last"


def test_what_one_principal_leaves_crowds_out_nobody_elses() -> None:
    shelf = Shelf(each=Bounds(100, 1000), whole=Bounds(10, 1000))
    assert kept(shelf, *many("b", 2), *many("a", 50))[:2] == ["b0", "b1"]
    shelf = Shelf(each=Bounds(100, 1000), whole=Bounds(100, 100))
    assert kept(shelf, *many("b", 2, 10), *many("a", 50, 30)) == ["b0", "b1", "a47", "a48", "a49"]


def test_a_thousand_principals_have_no_more_than_one_together() -> None:
    shelf = Shelf(each=Bounds(10, 1000), whole=Bounds(100, 1000))
    left = kept(shelf, *((f"run {n}", f"session {n}", 90) for n in range(1000)))
    assert left == [f"run {n}" for n in range(988, 1000)], "eleven, and the last"


def test_a_run_that_is_too_heavy_is_the_first_to_go() -> None:
    shelf = Shelf(each=Bounds(10, 100))
    assert kept(shelf, ("light", "a", 10), ("heavy", "a", 1000)) == ["light", "heavy"]
    assert shelf.put("next", "b", 0.0, 10) == ["heavy"]


def test_every_run_goes_in_its_time() -> None:
    shelf: Any = Shelf()
    shelf.put("one", "a", 0.0, 1)
    shelf.put("two", "b", 10.0, 1)
    assert shelf.drop_old(KEPT_S - 1) == []
    assert shelf.drop_old(KEPT_S) == ["one"]
    assert shelf.drop_old(KEPT_S + 10) == ["two"]
    assert (shelf._own, shelf._all.bytes) == ({}, 0)
