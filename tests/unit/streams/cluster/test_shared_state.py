from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.cluster.shared_state
from streams.cluster.shared_state import KEYS_MAX, SharedState


def test_latest_value_wins_and_tombstone_deletes() -> None:
    shared_state = SharedState()
    assert shared_state.get("a") is None
    shared_state.put("a", b"1")
    shared_state.put("a", b"2")
    assert shared_state.get("a") == b"2"
    shared_state.put("a", None)
    assert shared_state.get("a") is None
    assert shared_state.items("") == []


class Signal(msgspec.Struct):
    n: int


class Other(msgspec.Struct):
    n: int


def test_value_is_decoded_once_and_again_after_a_change() -> None:
    shared_state = SharedState()
    assert shared_state.read("a", Signal) is None
    shared_state.put("a", b'{"n":1}')
    first = shared_state.read("a", Signal)
    assert first == Signal(1)
    assert shared_state.read("a", Signal) is first
    assert shared_state.read("a", Other) == Other(1)
    shared_state.put("a", b'{"n":2}')
    assert shared_state.read("a", Signal) == Signal(2)
    shared_state.put("a", None)
    assert shared_state.read("a", Signal) is None


@pytest.mark.parametrize("value", [b"", b"{", b'{"n":"x"}', b"[1]", b"\xff"])
def test_malformed_value_is_read_as_none(value: bytes) -> None:
    shared_state = SharedState()
    shared_state.put("a", value)
    assert shared_state.read("a", Signal) is None
    assert shared_state.get("a") == value


def test_items_are_filtered_by_key_prefix() -> None:
    shared_state = SharedState()
    for key in ("breaker/a", "breaker/b", "cancel/breaker/"):
        shared_state.put(key, key.encode())
    assert dict(shared_state.items("breaker/")) == {
        "breaker/a": b"breaker/a",
        "breaker/b": b"breaker/b",
    }


@pytest.mark.parametrize("prefix", ["", "breaker", "breaker/", "breaker/b", "b", "none/"])
def test_items_of_any_prefix_are_in_the_order_of_their_last_change(prefix: str) -> None:
    shared_state = SharedState()
    for key in ("breaker/a", "cancel/b", "breaker/b", "breaker", "breaker/c", "breaker/a"):
        shared_state.put(key, b"x")
    shared_state.put("breaker/c", None)
    expected = [
        each
        for each in ("cancel/b", "breaker/b", "breaker", "breaker/a")
        if each.startswith(prefix)
    ]
    assert [key for key, _ in shared_state.items(prefix)] == expected


def test_an_empty_value_is_a_value() -> None:
    shared_state = SharedState()
    shared_state.put("a", b"")
    assert shared_state.get("a") == b""


def test_least_recently_changed_keys_are_evicted_above_the_maximum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert KEYS_MAX >= 100_000
    monkeypatch.setattr(streams.cluster.shared_state, "KEYS_MAX", 2)
    shared_state = SharedState()
    for key in ("a", "b", "a", "c"):
        shared_state.put(key, b"1")
    assert [key for key, _ in shared_state.items("")] == ["a", "c"]


# Publication time by the clock of this process

START = datetime(2026, 1, 1, tzinfo=UTC)


class ArrivalHarness:
    """Shared state with one value, and the clocks of the process."""

    def __init__(self, *, live: bool) -> None:
        self.elapsed = 0.0
        self.shared_state = SharedState(clock=lambda: self.elapsed)
        self.shared_state.put("a", b"1", live=live)

    def published_at(self, ahead: float, jump: float = 0.0) -> float:
        """Return seconds after process start, for a writer whose clock is ahead."""
        at, now = START + timedelta(seconds=ahead), START + timedelta(seconds=self.elapsed + jump)
        return (self.shared_state.published_at("a", at, now) - START).total_seconds()


@pytest.mark.parametrize("ahead", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("elapsed", [0.0, 30.0])
def test_live_value_is_published_at_its_arrival(ahead: float, elapsed: float) -> None:
    harness = ArrivalHarness(live=True)
    harness.elapsed = elapsed
    assert harness.published_at(ahead) == 0.0


@pytest.mark.parametrize(("ahead", "at"), [(-600.0, -600.0), (600.0, 0.0)])
def test_old_value_has_the_writer_s_time_bounded_by_its_arrival(ahead: float, at: float) -> None:
    harness = ArrivalHarness(live=False)
    harness.elapsed = 30.0
    assert harness.published_at(ahead) == at


@pytest.mark.parametrize("jump", [-7_200.0, -3_000.0, 3_000.0])
def test_wall_clock_jump_does_not_change_the_age_of_a_value(jump: float) -> None:
    harness = ArrivalHarness(live=True)
    harness.elapsed = 30.0
    assert harness.published_at(0.0, jump) == jump


def test_unchanged_value_read_again_keeps_its_age() -> None:
    harness = ArrivalHarness(live=True)
    harness.elapsed = 30.0
    harness.shared_state.put("a", b"1")
    assert harness.published_at(0.0) == 0.0
    harness.shared_state.put("a", b"2")
    assert harness.published_at(0.0) == 30.0


def test_unknown_value_has_the_writer_s_time() -> None:
    assert SharedState().published_at("a", START, START + timedelta(days=1)) == START


def test_watchers_are_called_for_their_keys_while_subscribed() -> None:
    shared_state, calls = SharedState(), list[int]()
    with shared_state.watch("a", "b", callback=lambda: calls.append(1)):
        for key in ("a", "b", "c", "ab"):
            shared_state.put(key, b"1")
        shared_state.put("a", None)
        assert len(calls) == 3
    shared_state.put("a", b"2")
    assert len(calls) == 3
    assert not shared_state._watchers


def test_two_watchers_of_one_key_are_both_called() -> None:
    shared_state, calls = SharedState(), list[str]()
    with shared_state.watch("a", callback=lambda: calls.append("outer")):
        with shared_state.watch("a", callback=lambda: calls.append("inner")):
            shared_state.put("a", b"1")
        shared_state.put("a", b"2")
    assert calls == ["outer", "inner", "outer"]


def test_watcher_may_unsubscribe_in_its_callback() -> None:
    shared_state = SharedState()
    context = shared_state.watch("a", callback=lambda: context.__exit__(None, None, None))
    context.__enter__()
    shared_state.put("a", b"1")
    assert not shared_state._watchers


def test_listener_receives_existing_values_then_every_change() -> None:
    shared_state, received = SharedState(), list[tuple[str, bytes | None]]()
    shared_state.put("x/1", b"old")
    shared_state.put("y/1", b"other")
    with shared_state.listen("x/", lambda key, value: received.append((key, value))):
        shared_state.put("x/2", b"new")
        shared_state.put("y/2", b"other")
        shared_state.put("x/1", None)
    shared_state.put("x/3", b"late")
    assert received == [("x/1", b"old"), ("x/2", b"new"), ("x/1", None)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=2))))
def test_shared_state_equals_a_dictionary_after_any_changes(
    changes: list[tuple[str, bytes | None]],
) -> None:
    shared_state, model = SharedState(), dict[str, Any]()
    for key, value in changes:
        shared_state.put(key, value)
        model[key] = value
    assert dict(shared_state.items("")) == {key: v for key, v in model.items() if v is not None}
