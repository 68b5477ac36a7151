"""Plug-ins: which hooks are called, and that their errors do not affect requests."""

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
from agents.plugins import (
    GROUP,
    HOOKS,
    SLOW_SECONDS,
    TROUBLES_MAX,
    Plugin,
    PluginRequest,
    Plugins,
    describe,
    outcome_of,
)
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

ENDPOINT = Endpoint(platform="tiktok", operation="extract", egress="direct")
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

HookCall = tuple[Any, ...]


class RecordingPlugin:
    """A plug-in that records the calls of its hooks."""

    def __init__(self) -> None:
        self.calls: list[HookCall] = []

    def on_request_start(self, request: PluginRequest) -> None:
        self.calls.append(("start", request))

    def on_request_complete(self, request: PluginRequest, seconds: float) -> None:
        self.calls.append(("complete", request, seconds))

    def on_request_error(
        self, request: PluginRequest, error: BaseException, seconds: float
    ) -> None:
        self.calls.append(("error", request, error, seconds))


class ErrorHookPlugin:
    """A plug-in with one hook."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def on_request_error(self, _request: PluginRequest, error: BaseException, _: float) -> None:
        self.errors.append(error)


class FailingPlugin:
    """A plug-in whose start hook raises ``error`` and counts its calls."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.calls = 0

    def on_request_start(self, _request: PluginRequest) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class SlowPlugin:
    """A plug-in whose start hook takes ``seconds`` on a fake clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def on_request_start(self, _request: PluginRequest) -> None:
        self.calls += 1
        self.clock.now += self.seconds


class TroubleRecorder:
    """Records the troubles that are counted."""

    def __init__(self) -> None:
        self.seen: list[HookCall] = []

    def __call__(self, plugin: str, trouble: str) -> None:
        self.seen.append((plugin, trouble))


@pytest.fixture
def troubles() -> TroubleRecorder:
    return TroubleRecorder()


def plugins(*hooks: object, **changes: Any) -> Plugins:
    named = [Plugin(f"p{n}", each, **changes) for n, each in enumerate(hooks)]
    return Plugins(named, timer=changes.get("timer", Clock()))


# Hook calls


def test_successful_request_calls_start_and_complete() -> None:
    first, second, clock = RecordingPlugin(), RecordingPlugin(), Clock()
    with plugins(first, second, timer=clock).watching(REQUEST):
        assert first.calls == second.calls == [("start", REQUEST)]
        clock.now += 1.5
    assert first.calls == second.calls == [("start", REQUEST), ("complete", REQUEST, 1.5)]


@pytest.mark.parametrize(
    "error", [TIMEOUT, ZeroDivisionError(), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_failed_request_calls_error_with_the_exception(error: BaseException) -> None:
    recorder, clock = RecordingPlugin(), Clock()
    loaded = plugins(recorder, timer=clock)

    def fail() -> None:
        with loaded.watching(REQUEST):
            clock.now += 2
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert recorder.calls == [("start", REQUEST), ("error", REQUEST, error, 2)]


def test_hooks_can_be_called_individually() -> None:
    recorder = RecordingPlugin()
    loaded = plugins(recorder)
    loaded.start(REQUEST)
    loaded.complete(REQUEST, 1.0)
    loaded.error(REQUEST, TIMEOUT, 2.0)
    assert [each[0] for each in recorder.calls] == ["start", "complete", "error"]


def test_plugin_may_have_only_some_hooks() -> None:
    plugin = ErrorHookPlugin()
    with pytest.raises(ClipmillError), plugins(plugin).watching(REQUEST):
        raise TIMEOUT
    assert plugin.errors == [TIMEOUT]


def test_no_plugins_is_a_no_op() -> None:
    with Plugins().watching(REQUEST):
        pass
    assert Plugins().names == ()


def test_plugins_are_called_in_the_order_of_their_names() -> None:
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_request_start(self, _: PluginRequest) -> None:
            order.append(self.name)

    loaded = Plugins([Plugin(name, Named(name)) for name in ("b", "c", "a")])
    loaded.start(REQUEST)
    assert order == list(loaded.names) == ["a", "b", "c"]


# Descriptions of requests


def test_describe_returns_the_plugin_request() -> None:
    assert describe(make_job(), VIDEO.key, ENDPOINT, step="extraction") == REQUEST


def test_attempts_are_counted_by_step() -> None:
    attempts = (make_attempt(step="extraction"), make_attempt(step="download"))
    job = make_job(attempts=(*attempts, make_attempt(step="extraction")))
    numbers = {
        step: describe(job, "s", ENDPOINT, step=step).attempt
        for step in ("validation", "extraction", "download")
    }
    assert numbers == {"validation": 1, "extraction": 3, "download": 2}


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (VIDEO.key, VIDEO.key),
        (SHORT_URL, SHORT_URL),
        ("https://vm.tiktok.com/ZMabc/?_r=1&token=s3cret#frag", "https://vm.tiktok.com/ZMabc/"),
        ("https://user:s3cret@vm.tiktok.com/ZMabc", "https://vm.tiktok.com/ZMabc"),
        ("https://[s3cret", ""),
        ("tiktok:7?a=b", "tiktok:7?a=b"),
    ],
)
def test_subject_of_a_link_is_reduced_to_host_and_path(subject: str, expected: str) -> None:
    assert describe(make_job(), subject, ENDPOINT, step="extraction").subject == expected


@given(st.text(max_size=80))
def test_any_subject_is_described(subject: str) -> None:
    assert isinstance(describe(make_job(), subject, ENDPOINT, step="extraction").subject, str)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TIMEOUT, "network.timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (RuntimeError("s3cret"), "internal.bug"),
    ],
)
def test_outcome_of_an_error(error: BaseException, outcome: str) -> None:
    assert outcome_of(error) == outcome


# Isolation of errors


@pytest.mark.parametrize(
    "error", [ValueError("boom"), asyncio.CancelledError(), SystemExit(3), StopIteration()]
)
def test_raising_plugin_does_not_affect_the_request_or_other_plugins(
    error: BaseException, troubles: TroubleRecorder
) -> None:
    failing, recorder = FailingPlugin(error), RecordingPlugin()
    with plugins(failing, recorder, count=troubles).watching(REQUEST):
        pass
    assert [each[0] for each in recorder.calls] == ["start", "complete"]
    assert troubles.seen == [("p0", "error")]


def test_raising_plugin_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    loaded = plugins(FailingPlugin(ValueError("boom")))
    for _ in range(TROUBLES_MAX - 1):
        loaded.start(REQUEST)
    [line] = caplog.records
    assert "p0" in line.getMessage()
    assert line.exc_info is not None


def test_plugin_is_disabled_after_consecutive_troubles(
    troubles: TroubleRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    failing = FailingPlugin(ValueError("boom"))
    loaded = plugins(failing, count=troubles)
    for _ in range(TROUBLES_MAX + 5):
        loaded.start(REQUEST)
    assert failing.calls == TROUBLES_MAX
    assert troubles.seen == [*[("p0", "error")] * TROUBLES_MAX, ("p0", "off")]
    assert caplog.records[-1].levelno == logging.ERROR
    assert "p0 is disabled" in caplog.records[-1].getMessage()


def test_successful_call_resets_the_trouble_count() -> None:
    error = ValueError("boom")
    failing = FailingPlugin(error)
    loaded = plugins(failing)
    for _ in range(5):
        failing.error = error
        for _ in range(TROUBLES_MAX - 1):
            loaded.start(REQUEST)
        failing.error = None
        loaded.start(REQUEST)
    assert failing.calls == 5 * TROUBLES_MAX


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(SLOW_SECONDS, []), (SLOW_SECONDS * 1.1, [("p0", "slow")]), (0.0, [])],
)
def test_slow_hook_is_counted(
    seconds: float, expected: list[HookCall], troubles: TroubleRecorder
) -> None:
    clock = Clock(0.0)
    plugins(SlowPlugin(clock, seconds), count=troubles, timer=clock).start(REQUEST)
    assert troubles.seen == expected


def test_plugin_that_is_always_slow_is_disabled(troubles: TroubleRecorder) -> None:
    clock = Clock()
    slow = SlowPlugin(clock, 1.0)
    loaded = plugins(slow, count=troubles, timer=clock)
    for _ in range(TROUBLES_MAX + 5):
        loaded.start(REQUEST)
    assert slow.calls == TROUBLES_MAX
    assert troubles.seen[-1] == ("p0", "off")


class NoHooks:
    """A class without hooks."""


class AsyncHook:
    """A plug-in with a coroutine function as its hook."""

    async def on_request_start(self, _request: PluginRequest) -> None:
        """Never awaited."""


class NotCallableHook:
    """A plug-in with a hook that is not callable."""

    on_request_complete = "soon"


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        (NoHooks(), "on_request_start, on_request_complete, on_request_error"),
        (AsyncHook(), "on_request_start is not a plain function"),
        (NotCallableHook(), "on_request_complete is not a plain function"),
    ],
)
def test_invalid_plugin_is_rejected_with_the_reason(hooks: object, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Plugin("bad", hooks)


# Discovery


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A third-party module, importable during a test."""
    module = ModuleType("third_party_plugins")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"third_party_plugins:{value}", GROUP)


def test_third_party_plugin_is_loaded_by_its_entry_point(
    third_party: ModuleType, troubles: TroubleRecorder
) -> None:
    third_party.RecordingPlugin = RecordingPlugin  # type: ignore[attr-defined]
    loaded = Plugins.from_entry_points([entry_point("theirs", "RecordingPlugin")], count=troubles)
    assert loaded.names == ("theirs",)
    with loaded.watching(REQUEST):
        pass
    assert troubles.seen == []


def broken() -> object:
    raise RuntimeError("needs a key")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Missing", id="not there"),
        pytest.param("broken", id="constructor fails"),
        pytest.param("NoHooks", id="no hook"),
        pytest.param("AsyncHook", id="not a plain function"),
    ],
)
def test_broken_plugin_is_reported_and_others_still_work(
    value: str, third_party: ModuleType, troubles: TroubleRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    vars(third_party).update(
        broken=broken, NoHooks=NoHooks, AsyncHook=AsyncHook, RecordingPlugin=RecordingPlugin
    )
    points = [entry_point("bad", value), entry_point("good", "RecordingPlugin")]
    assert Plugins.from_entry_points(points, count=troubles).names == ("good",)
    assert troubles.seen == [("bad", "error"), ("bad", "off")]
    assert "bad (third_party_plugins" in caplog.text


@pytest.fixture
def fresh_plugins() -> Iterator[Callable[[], Plugins]]:
    """The plug-ins of a process that has just started."""
    installed_plugins.cache_clear()
    yield installed_plugins
    installed_plugins.cache_clear()


def test_plugins_are_loaded_once_per_process_and_their_troubles_counted(
    third_party: ModuleType,
    fresh_plugins: Callable[[], Plugins],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vars(third_party)["make"] = lambda: FailingPlugin(ValueError("boom"))
    found = {GROUP: [entry_point("counted", "make")]}
    monkeypatch.setattr("agents.plugins.entry_points", lambda *, group: found.get(group, []))
    assert fresh_plugins() is fresh_plugins()
    fresh_plugins().start(REQUEST)
    labels = {"plugin": "counted", "trouble": "error"}
    assert REGISTRY.get_sample_value("clipmill_plugin_troubles_total", labels) == 1


def test_documented_hooks() -> None:
    assert HOOKS == ("on_request_start", "on_request_complete", "on_request_error")
