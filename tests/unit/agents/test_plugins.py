"""Plug-ins: what they are told, and that nothing they do is in the way of a request."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.gate import installed_plugins
from agents.plugins import GROUP, HOOKS, Plugin, PluginRequest, Plugins, describe, outcome_of
from agents.plugins.hooks import SLOW_SECONDS, TROUBLES_MAX
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from streams.observability.metrics import REGISTRY
from tests.unit.agents.builders import (
    SHORT_URL,
    TRACE_ID,
    VIDEO,
    Clock,
    make_attempt,
    make_job,
)

PLACE = Endpoint(platform="tiktok", operation="extract", egress="direct")
REQUEST = PluginRequest(
    platform="tiktok",
    operation="extract",
    egress="direct",
    request_id="r1",
    subject=VIDEO.key,
    attempt=1,
    trace_id=TRACE_ID,
)
TIMEOUT = ClipmillError(ErrorCode.NETWORK_TIMEOUT, "no answer")

Told = tuple[Any, ...]


class Listener:
    """A plug-in that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def on_request_start(self, request: PluginRequest) -> None:
        self.told.append(("start", request))

    def on_request_complete(self, request: PluginRequest, seconds: float) -> None:
        self.told.append(("complete", request, seconds))

    def on_request_error(
        self, request: PluginRequest, error: BaseException, seconds: float
    ) -> None:
        self.told.append(("error", request, error, seconds))


class OnlyErrors:
    """A plug-in with one hook."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def on_request_error(self, _request: PluginRequest, error: BaseException, _: float) -> None:
        self.errors.append(error)


class Failing:
    """A plug-in whose start raises what it is told to, and counts how often it was called."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.calls = 0

    def on_request_start(self, _request: PluginRequest) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class Slow:
    """A plug-in that takes its time, on a clock of the test's."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def on_request_start(self, _request: PluginRequest) -> None:
        self.calls += 1
        self.clock.now += self.seconds


class Counts:
    """The troubles that were counted."""

    def __init__(self) -> None:
        self.seen: list[Told] = []

    def __call__(self, plugin: str, trouble: str) -> None:
        self.seen.append((plugin, trouble))


@pytest.fixture
def counts() -> Counts:
    return Counts()


def plugins(*hooks: object, **changes: Any) -> Plugins:
    named = [Plugin(f"p{n}", each, **changes) for n, each in enumerate(hooks)]
    return Plugins(named, timer=changes.get("timer", Clock()))


# What they are told


def test_a_request_that_works_is_told_of_at_its_start_and_its_end() -> None:
    first, second, clock = Listener(), Listener(), Clock()
    with plugins(first, second, timer=clock).watching(REQUEST):
        assert first.told == second.told == [("start", REQUEST)]
        clock.now += 1.5
    assert first.told == second.told == [("start", REQUEST), ("complete", REQUEST, 1.5)]


@pytest.mark.parametrize(
    "error", [TIMEOUT, ZeroDivisionError(), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_one_that_fails_is_told_of_with_its_error(error: BaseException) -> None:
    listener, clock = Listener(), Clock()
    told = plugins(listener, timer=clock)

    def fail() -> None:
        with told.watching(REQUEST):
            clock.now += 2
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert listener.told == [("start", REQUEST), ("error", REQUEST, error, 2)]


def test_the_three_may_be_told_of_one_by_one() -> None:
    listener = Listener()
    told = plugins(listener)
    told.start(REQUEST)
    told.complete(REQUEST, 1.0)
    told.error(REQUEST, TIMEOUT, 2.0)
    assert [each[0] for each in listener.told] == ["start", "complete", "error"]


def test_a_plug_in_may_have_only_some_hooks() -> None:
    only = OnlyErrors()
    with pytest.raises(ClipmillError), plugins(only).watching(REQUEST):
        raise TIMEOUT
    assert only.errors == [TIMEOUT]


def test_without_plug_ins_nothing_happens() -> None:
    with Plugins().watching(REQUEST):
        pass
    assert Plugins().names == ()


def test_they_are_called_in_the_order_of_their_names() -> None:
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_request_start(self, _: PluginRequest) -> None:
            order.append(self.name)

    told = Plugins([Plugin(name, Named(name)) for name in ("b", "c", "a")])
    told.start(REQUEST)
    assert order == list(told.names) == ["a", "b", "c"]


# What a request is described by


def test_a_request_is_for_whom_of_what_and_where() -> None:
    assert describe(make_job(), VIDEO.key, PLACE) == REQUEST


def test_attempts_are_counted_by_operation() -> None:
    attempts = (make_attempt(step="extraction"), make_attempt(step="download"))
    job = make_job(attempts=(*attempts, make_attempt(step="extraction")))
    numbers = {
        operation: describe(
            job, "s", Endpoint(platform="p", operation=operation, egress="e")
        ).attempt
        for operation in ("resolve", "extract", "download")
    }
    assert numbers == {"resolve": 1, "extract": 3, "download": 2}


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (VIDEO.key, VIDEO.key),
        (SHORT_URL, SHORT_URL),
        ("https://vm.tiktok.com/ZMabc/?_r=1&token=s3cret#frag", "https://vm.tiktok.com/ZMabc/"),
        ("https://user:s3cret@vm.tiktok.com/ZMabc", "https://vm.tiktok.com/ZMabc"),
        ("https://[s3cret", ""),
        ("tiktok:7?a=b", "tiktok:7?a=b"),
    ],
)
def test_of_a_link_only_host_and_path_are_told(subject: str, told: str) -> None:
    assert describe(make_job(), subject, PLACE).subject == told


@given(st.text(max_size=80))
def test_any_subject_can_be_told(subject: str) -> None:
    assert isinstance(describe(make_job(), subject, PLACE).subject, str)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TIMEOUT, "network.timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (RuntimeError("s3cret"), "internal.bug"),
    ],
)
def test_outcomes_are_names(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome


# What they may do wrong


@pytest.mark.parametrize(
    "error", [ValueError("boom"), asyncio.CancelledError(), SystemExit(3), StopIteration()]
)
def test_one_that_raises_is_in_nobody_s_way(error: BaseException, counts: Counts) -> None:
    failing, listener = Failing(error), Listener()
    with plugins(failing, listener, count=counts).watching(REQUEST):
        pass
    assert [each[0] for each in listener.told] == ["start", "complete"]
    assert counts.seen == [("p0", "error")]


def test_it_is_named_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = plugins(Failing(ValueError("boom")))
    for _ in range(TROUBLES_MAX - 1):
        told.start(REQUEST)
    [line] = caplog.records
    assert "p0" in line.getMessage()
    assert line.exc_info is not None


def test_after_many_troubles_in_a_row_it_is_off(
    counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(ValueError("boom"))
    told = plugins(failing, count=counts)
    for _ in range(TROUBLES_MAX + 5):
        told.start(REQUEST)
    assert failing.calls == TROUBLES_MAX
    assert counts.seen == [*[("p0", "error")] * TROUBLES_MAX, ("p0", "off")]
    assert caplog.records[-1].levelno == logging.ERROR
    assert "p0 is off" in caplog.records[-1].getMessage()


def test_a_call_that_works_forgives_those_before() -> None:
    error = ValueError("boom")
    failing = Failing(error)
    told = plugins(failing)
    for _ in range(5):
        failing.error = error
        for _ in range(TROUBLES_MAX - 1):
            told.start(REQUEST)
        failing.error = None
        told.start(REQUEST)
    assert failing.calls == 5 * TROUBLES_MAX


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(SLOW_SECONDS, []), (SLOW_SECONDS * 1.1, [("p0", "slow")]), (0.0, [])],
)
def test_a_slow_one_is_counted(seconds: float, expected: list[Told], counts: Counts) -> None:
    clock = Clock(0.0)
    plugins(Slow(clock, seconds), count=counts, timer=clock).start(REQUEST)
    assert counts.seen == expected


def test_one_that_is_always_slow_is_off(counts: Counts) -> None:
    clock = Clock()
    slow = Slow(clock, 1.0)
    told = plugins(slow, count=counts, timer=clock)
    for _ in range(TROUBLES_MAX + 5):
        told.start(REQUEST)
    assert slow.calls == TROUBLES_MAX
    assert counts.seen[-1] == ("p0", "off")


class Nothing:
    """No plug-in."""


class Awaited:
    """Its hook would have to be awaited."""

    async def on_request_start(self, _request: PluginRequest) -> None:
        """Nobody waits for it."""


class Wrong:
    """Its hook cannot be called."""

    on_request_complete = "soon"


@pytest.mark.parametrize(
    ("hooks", "why"),
    [
        (Nothing(), "on_request_start, on_request_complete, on_request_error"),
        (Awaited(), "on_request_start is not a plain function"),
        (Wrong(), "on_request_complete is not a plain function"),
    ],
)
def test_what_is_no_plug_in_is_refused_with_the_reason(hooks: object, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        Plugin("bad", hooks)


# How they are found


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of somebody else, installed for the time of a test."""
    module = ModuleType("somebody_elses_plugins")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"somebody_elses_plugins:{value}", GROUP)


def test_a_plug_in_of_somebody_else_is_found_by_its_entry_point(
    third_party: ModuleType, counts: Counts
) -> None:
    third_party.Listener = Listener  # type: ignore[attr-defined]
    told = Plugins.from_entry_points([point("theirs", "Listener")], count=counts)
    assert told.names == ("theirs",)
    with told.watching(REQUEST):
        pass
    assert counts.seen == []


def broken() -> object:
    raise RuntimeError("needs a key")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Missing", id="not there"),
        pytest.param("broken", id="cannot be made"),
        pytest.param("Nothing", id="no hook"),
        pytest.param("Awaited", id="not a plain function"),
    ],
)
def test_a_broken_one_is_named_and_the_others_work(
    value: str, third_party: ModuleType, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    vars(third_party).update(broken=broken, Nothing=Nothing, Awaited=Awaited, Listener=Listener)
    points = [point("bad", value), point("good", "Listener")]
    assert Plugins.from_entry_points(points, count=counts).names == ("good",)
    assert counts.seen == [("bad", "error"), ("bad", "off")]
    assert "bad (somebody_elses_plugins" in caplog.text


@pytest.fixture
def fresh_plugins() -> Iterator[Callable[[], Plugins]]:
    """The plug-ins of a process that has just begun."""
    installed_plugins.cache_clear()
    yield installed_plugins
    installed_plugins.cache_clear()


def test_a_process_has_its_plug_ins_once_and_counts_their_troubles(
    third_party: ModuleType,
    fresh_plugins: Callable[[], Plugins],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vars(third_party)["make"] = lambda: Failing(ValueError("boom"))
    found = {GROUP: [point("counted", "make")]}
    monkeypatch.setattr(
        "agents.plugins.installed.entry_points", lambda *, group: found.get(group, [])
    )
    assert fresh_plugins() is fresh_plugins()
    fresh_plugins().start(REQUEST)
    labels = {"plugin": "counted", "trouble": "error"}
    assert REGISTRY.get_sample_value("clipmill_plugin_troubles_total", labels) == 1


def test_hooks_are_what_the_documents_say() -> None:
    assert HOOKS == ("on_request_start", "on_request_complete", "on_request_error")
