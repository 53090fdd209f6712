"""The states of a server, event by event."""

import pytest

from bridge.hub.health import (
    BREAKER_FAILURES,
    BREAKER_WINDOW_S,
    LAST_BACKOFF_S,
    PROBE_S,
    STABLE_S,
    TRANSITIONS,
    Health,
    State,
    Trigger,
)

STATES: tuple[State, ...] = ("starting", "late", "ready", "backing off", "failed", "needs sign-in", "quarantined")
WAYS: dict[State, list[tuple[Trigger, float]]] = {
    "starting": [],
    "late": [("overdue", 0)],
    "ready": [("opened", 0)],
    "backing off": [("opened", 0), ("lost", 0)],
    "failed": [("refused", 0)],
    "needs sign-in": [("unsigned", 0)],
    "quarantined": [("refused", 0)] * BREAKER_FAILURES,
}


def follow(*triggers: tuple[Trigger, float]) -> Health:
    health = Health()
    for trigger, now in triggers:
        health.note(trigger, now, "why")
    return health


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trigger", TRANSITIONS)
def test_every_event_in_every_state_leads_where_the_table_says_or_nowhere(state: State, trigger: Trigger) -> None:
    health = follow(*WAYS[state])
    assert health.state == state
    health.note(trigger, 0, "why")
    assert health.state == TRANSITIONS[trigger].get(state, state)


def test_only_a_change_is_news() -> None:
    health = Health()
    assert health.note("refused", 0, "no such command")
    assert not health.note("refused", 1, "no such command")
    assert health.note("refused", 2, "no licence")
    assert health.note("opened", 3)
    assert health.reason is None


@pytest.mark.rule("REL5")
def test_pauses_double_up_to_a_bound() -> None:
    slow = Health()
    pauses: list[float] = []
    for attempt in range(12):
        slow.note("refused", attempt * BREAKER_WINDOW_S, "why")  # too seldom for the breaker
        pauses.append(slow.pause_s)
    assert pauses[:8] == [0.25, 0.5, 1, 2, 4, 8, 16, LAST_BACKOFF_S]
    assert set(pauses[8:]) == {LAST_BACKOFF_S}


def test_after_a_good_connection_the_next_attempt_is_made_at_once() -> None:
    assert follow(("refused", 0), ("opened", 1), ("lost", 1 + STABLE_S + 1)).pause_s == 0
    assert follow(("refused", 0), ("opened", 1), ("lost", 2)).pause_s == 0.5


def test_a_quarantined_server_has_one_attempt_at_a_time_until_it_is_of_use() -> None:
    health = follow(*WAYS["quarantined"])
    assert (health.state, health.pause_s) == ("quarantined", PROBE_S)
    assert health.reason == "it failed 5 times, the last time: why; it is tried again every 30 s"
    for hour in (3600, 7200):
        health.note("refused", hour, "why")
        assert (health.state, health.pause_s) == ("quarantined", PROBE_S)
    health.note("opened", 9000)
    health.note("lost", 9001, "why")
    assert health.state == "quarantined"
    health.note("opened", 9100)
    health.note_success()
    health.note("lost", 9101, "why")
    assert (health.state, health.pause_s) == ("backing off", 0.25)
