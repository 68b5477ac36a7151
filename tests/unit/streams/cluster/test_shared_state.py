from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.cluster.shared_state
from streams.cluster.shared_state import KEYS_MAX, SharedState


def test_the_newest_value_counts() -> None:
    signals = SharedState()
    assert signals.get("a") is None
    signals.put("a", b"1")
    signals.put("a", b"2")
    assert signals.get("a") == b"2"
    signals.put("a", None)
    assert signals.get("a") is None
    assert signals.items("") == []


def test_items_are_found_by_the_first_part_of_their_keys() -> None:
    signals = SharedState()
    for key in ("breaker/a", "breaker/b", "cancel/breaker/"):
        signals.put(key, key.encode())
    assert dict(signals.items("breaker/")) == {
        "breaker/a": b"breaker/a",
        "breaker/b": b"breaker/b",
    }


def test_an_empty_value_is_a_value() -> None:
    signals = SharedState()
    signals.put("a", b"")
    assert signals.get("a") == b""


def test_of_too_many_keys_those_go_that_changed_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert KEYS_MAX >= 100_000
    monkeypatch.setattr(streams.cluster.shared_state, "KEYS_MAX", 2)
    signals = SharedState()
    for key in ("a", "b", "a", "c"):
        signals.put(key, b"1")
    assert [key for key, _ in signals.items("")] == ["a", "c"]


# When a value was published, by the clock of this process

START = datetime(2026, 1, 1, tzinfo=UTC)


class Arrival:
    """A value that arrived, and the clocks of the process."""

    def __init__(self, *, live: bool) -> None:
        self.elapsed = 0.0
        self.signals = SharedState(clock=lambda: self.elapsed)
        self.signals.put("a", b"1", live=live)

    def published_at(self, ahead: float, jump: float = 0.0) -> float:
        """Seconds after the start of this process, for a writer whose clock is ahead."""
        at, now = START + timedelta(seconds=ahead), START + timedelta(seconds=self.elapsed + jump)
        return (self.signals.published_at("a", at, now) - START).total_seconds()


@pytest.mark.parametrize("ahead", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("elapsed", [0.0, 30.0])
def test_a_value_is_published_when_it_arrives(ahead: float, elapsed: float) -> None:
    arrival = Arrival(live=True)
    arrival.elapsed = elapsed
    assert arrival.published_at(ahead) == 0.0


@pytest.mark.parametrize(("ahead", "at"), [(-600.0, -600.0), (600.0, 0.0)])
def test_an_old_value_is_published_when_its_writer_says_and_before_it_arrives(
    ahead: float, at: float
) -> None:
    arrival = Arrival(live=False)
    arrival.elapsed = 30.0
    assert arrival.published_at(ahead) == at


@pytest.mark.parametrize("jump", [-7_200.0, -3_000.0, 3_000.0])
def test_a_clock_that_is_set_makes_no_value_older_or_younger(jump: float) -> None:
    arrival = Arrival(live=True)
    arrival.elapsed = 30.0
    assert arrival.published_at(0.0, jump) == jump


def test_a_value_that_is_read_again_is_as_old_as_before() -> None:
    arrival = Arrival(live=True)
    arrival.elapsed = 30.0
    arrival.signals.put("a", b"1")
    assert arrival.published_at(0.0) == 0.0
    arrival.signals.put("a", b"2")
    assert arrival.published_at(0.0) == 30.0


def test_of_an_unknown_value_the_time_of_the_writer_counts() -> None:
    assert SharedState().published_at("a", START, START + timedelta(days=1)) == START


def test_watchers_are_told_of_their_keys_while_they_watch() -> None:
    signals, told = SharedState(), list[int]()
    with signals.watch("a", "b", callback=lambda: told.append(1)):
        for key in ("a", "b", "c", "ab"):
            signals.put(key, b"1")
        signals.put("a", None)
        assert len(told) == 3
    signals.put("a", b"2")
    assert len(told) == 3
    assert not signals._watchers


def test_two_watch_one_key() -> None:
    signals, told = SharedState(), list[str]()
    with signals.watch("a", callback=lambda: told.append("outer")):
        with signals.watch("a", callback=lambda: told.append("inner")):
            signals.put("a", b"1")
        signals.put("a", b"2")
    assert told == ["outer", "inner", "outer"]


def test_a_watcher_may_leave_when_it_is_called() -> None:
    signals = SharedState()
    context = signals.watch("a", callback=lambda: context.__exit__(None, None, None))
    context.__enter__()
    signals.put("a", b"1")
    assert not signals._watchers


def test_listeners_hear_first_what_is_there_and_then_every_change() -> None:
    signals, heard = SharedState(), list[tuple[str, bytes | None]]()
    signals.put("x/1", b"old")
    signals.put("y/1", b"other")
    with signals.listen("x/", lambda key, value: heard.append((key, value))):
        signals.put("x/2", b"new")
        signals.put("y/2", b"other")
        signals.put("x/1", None)
    signals.put("x/3", b"late")
    assert heard == [("x/1", b"old"), ("x/2", b"new"), ("x/1", None)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=2))))
def test_it_is_what_a_dictionary_would_be(changes: list[tuple[str, bytes | None]]) -> None:
    signals, model = SharedState(), dict[str, Any]()
    for key, value in changes:
        signals.put(key, value)
        model[key] = value
    assert dict(signals.items("")) == {key: v for key, v in model.items() if v is not None}
