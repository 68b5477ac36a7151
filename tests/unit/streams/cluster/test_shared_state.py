from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.cluster.shared_state
from streams.cluster.shared_state import KEYS_MAX, SharedState


def test_latest_value_wins_and_tombstone_deletes() -> None:
    signals = SharedState()
    assert signals.get("a") is None
    signals.put("a", b"1")
    signals.put("a", b"2")
    assert signals.get("a") == b"2"
    signals.put("a", None)
    assert signals.get("a") is None
    assert signals.items("") == []


class Signal(msgspec.Struct):
    n: int


class Other(msgspec.Struct):
    n: int


def test_value_is_decoded_once_and_again_after_a_change() -> None:
    signals = SharedState()
    assert signals.read("a", Signal) is None
    signals.put("a", b'{"n":1}')
    first = signals.read("a", Signal)
    assert first == Signal(1)
    assert signals.read("a", Signal) is first
    assert signals.read("a", Other) == Other(1)
    signals.put("a", b'{"n":2}')
    assert signals.read("a", Signal) == Signal(2)
    signals.put("a", None)
    assert signals.read("a", Signal) is None


@pytest.mark.parametrize("value", [b"", b"{", b'{"n":"x"}', b"[1]", b"\xff"])
def test_malformed_value_is_read_as_none(value: bytes) -> None:
    signals = SharedState()
    signals.put("a", value)
    assert signals.read("a", Signal) is None
    assert signals.get("a") == value


def test_items_are_filtered_by_key_prefix() -> None:
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


def test_least_recently_changed_keys_are_evicted_above_the_maximum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert KEYS_MAX >= 100_000
    monkeypatch.setattr(streams.cluster.shared_state, "KEYS_MAX", 2)
    signals = SharedState()
    for key in ("a", "b", "a", "c"):
        signals.put(key, b"1")
    assert [key for key, _ in signals.items("")] == ["a", "c"]


# Publication time by the clock of this process

START = datetime(2026, 1, 1, tzinfo=UTC)


class ArrivalHarness:
    """Shared state with one value, and the clocks of the process."""

    def __init__(self, *, live: bool) -> None:
        self.elapsed = 0.0
        self.signals = SharedState(clock=lambda: self.elapsed)
        self.signals.put("a", b"1", live=live)

    def published_at(self, ahead: float, jump: float = 0.0) -> float:
        """Return seconds after process start, for a writer whose clock is ahead."""
        at, now = START + timedelta(seconds=ahead), START + timedelta(seconds=self.elapsed + jump)
        return (self.signals.published_at("a", at, now) - START).total_seconds()


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
    harness.signals.put("a", b"1")
    assert harness.published_at(0.0) == 0.0
    harness.signals.put("a", b"2")
    assert harness.published_at(0.0) == 30.0


def test_unknown_value_has_the_writer_s_time() -> None:
    assert SharedState().published_at("a", START, START + timedelta(days=1)) == START


def test_watchers_are_called_for_their_keys_while_subscribed() -> None:
    signals, calls = SharedState(), list[int]()
    with signals.watch("a", "b", callback=lambda: calls.append(1)):
        for key in ("a", "b", "c", "ab"):
            signals.put(key, b"1")
        signals.put("a", None)
        assert len(calls) == 3
    signals.put("a", b"2")
    assert len(calls) == 3
    assert not signals._watchers


def test_two_watchers_of_one_key_are_both_called() -> None:
    signals, calls = SharedState(), list[str]()
    with signals.watch("a", callback=lambda: calls.append("outer")):
        with signals.watch("a", callback=lambda: calls.append("inner")):
            signals.put("a", b"1")
        signals.put("a", b"2")
    assert calls == ["outer", "inner", "outer"]


def test_watcher_may_unsubscribe_in_its_callback() -> None:
    signals = SharedState()
    context = signals.watch("a", callback=lambda: context.__exit__(None, None, None))
    context.__enter__()
    signals.put("a", b"1")
    assert not signals._watchers


def test_listener_receives_existing_values_then_every_change() -> None:
    signals, received = SharedState(), list[tuple[str, bytes | None]]()
    signals.put("x/1", b"old")
    signals.put("y/1", b"other")
    with signals.listen("x/", lambda key, value: received.append((key, value))):
        signals.put("x/2", b"new")
        signals.put("y/2", b"other")
        signals.put("x/1", None)
    signals.put("x/3", b"late")
    assert received == [("x/1", b"old"), ("x/2", b"new"), ("x/1", None)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=2))))
def test_shared_state_equals_a_dictionary_after_any_changes(
    changes: list[tuple[str, bytes | None]],
) -> None:
    signals, model = SharedState(), dict[str, Any]()
    for key, value in changes:
        signals.put(key, value)
        model[key] = value
    assert dict(signals.items("")) == {key: v for key, v in model.items() if v is not None}
