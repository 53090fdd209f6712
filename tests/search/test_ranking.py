"""Which tools fit a wish: measured on a labelled corpus, and the edges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.search.ranking import Entry, Index
from tests.fakes.stalls import Stall
from tests.search.baseline import Baseline
from tests.search.corpus import Question, load_entries, load_questions
from tests.search.measure import Shelf, fill_shelf, find_recall, find_share, find_silence


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return fill_shelf()


@pytest.fixture(scope="module")
def held_out() -> list[Question]:
    return [question for question in load_questions() if question.is_held_out]


def test_the_corpus_is_large_enough_and_its_labels_are_tools_of_it(shelf: Shelf, held_out: list[Question]) -> None:
    questions = load_questions()
    assert len(shelf.functions) >= 1000
    assert len(held_out) >= 100
    assert len([question for question in questions if not question.is_later]) - len(held_out) >= 100
    assert {name for question in questions for name in question.tools} <= shelf.functions.keys()
    assert len({question.text for question in questions}) == len(questions)


def test_a_tool_that_would_do_is_among_the_first_five(shelf: Shelf, held_out: list[Question], stall: Stall) -> None:
    def rank(wish: str) -> list[str]:
        with stall.step():
            return shelf.rank(wish)

    recall = find_recall(held_out, rank)
    assert recall >= 0.90
    assert recall >= find_recall(held_out, Baseline(load_entries()).rank) + 0.10


@pytest.mark.external
def test_in_english_alone_too_it_is_better_than_bm25(shelf: Shelf, held_out: list[Question]) -> None:
    english = [question for question in held_out if question.language == "en"]
    assert find_recall(english, shelf.rank) >= find_recall(english, Baseline(load_entries()).rank) + 0.10


def test_chinese_is_found_as_well_as_english(shelf: Shelf, held_out: list[Question]) -> None:
    english, chinese = (
        find_recall([question for question in held_out if question.language == language], shelf.rank)
        for language in ("en", "zh")
    )
    assert chinese >= english - 0.05


def test_where_no_tool_would_do_none_is_found(shelf: Shelf, held_out: list[Question]) -> None:
    assert find_silence(held_out, shelf.rank) >= 0.9


@pytest.mark.external
def test_a_run_that_searches_costs_a_small_share_of_all_tools(shelf: Shelf, held_out: list[Question]) -> None:
    _, most = find_share(held_out, shelf)
    assert most <= 0.15


def test_the_same_tools_in_another_order_are_ranked_the_same(shelf: Shelf, stall: Stall) -> None:
    entries = load_entries()
    assert all(entry.terms for entry in entries)  # as they are read while the tools are made ready
    with stall.step():
        backwards = Index(reversed(entries))
    for wish in ("create an issue", "给客户开一张发票", "merge"):
        assert backwards.rank(wish) == shelf.rank(wish)


SMALL = [
    Entry("mail__send", "mail", "sendMail", "", "Sends an e-mail", ["to", "body"]),
    Entry("mail__list", "mail", "list_folders", "", "Lists the folders of a mailbox", []),
]


@pytest.mark.parametrize(
    "wish", ["send an e-mail", '"send an e-mail"', "“发送邮件”", "发送邮件", "SEND_MAIL", "sendMail", "邮件发给安娜"]
)
def test_even_of_two_tools_the_one_that_fits_comes_first(wish: str) -> None:
    assert Index(SMALL).rank(wish)[:1] == ["mail__send"]


@pytest.mark.parametrize("wish", ["", " ", "the of and", "的", "walk the dog", "遛狗", "12345", "🙂"])
def test_a_wish_that_says_nothing_or_something_else_finds_none(wish: str) -> None:
    assert Index(SMALL).rank(wish) == []
    assert Index([]).rank(wish) == []


@settings(max_examples=50, derandomize=True, deadline=None)
@given(wish=st.text(max_size=200), words=st.lists(st.text(max_size=30), max_size=5))
def test_no_text_can_break_it(wish: str, words: list[str]) -> None:
    index = Index([*SMALL, Entry("odd", "", "".join(words), " ".join(words), "\n".join(words), words)])
    found = index.rank(wish)
    assert set(found) <= {"mail__send", "mail__list", "odd"}
    assert len(found) == len(set(found))
