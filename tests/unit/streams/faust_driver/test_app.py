import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from streams.faust_driver import app as module
from streams.faust_driver.app import _start_or_raise, build_app, crash_of
from streams.faust_driver.static_member import StaticMember
from streams.settings import Settings

pytestmark = pytest.mark.usefixtures("own_settings")


class StartingApp:
    """Faust app whose start ends when ``started`` is set."""

    def __init__(self) -> None:
        self.crashed = False
        self.should_stop = False
        self.crash_reason: BaseException | None = None
        self.coordinator = SimpleNamespace(_pending_exception=None)
        reader = SimpleNamespace(_coordinator=self.coordinator)
        self.consumer = SimpleNamespace(_thread=SimpleNamespace(_consumer=reader))
        self.started = asyncio.Event()
        self.was_cancelled = False

    async def start(self) -> None:
        try:
            await self.started.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> StartingApp:
    monkeypatch.setattr(module, "CRASH_POLL_SECONDS", 0.01)
    return StartingApp()


async def test_start_waits_for_the_app(app: StartingApp) -> None:
    asyncio.get_running_loop().call_later(0.05, app.started.set)
    await _start_or_raise(app)
    assert crash_of(app) is None


async def test_tables_start_without_faust_s_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = build_app("toy", Settings(), StaticMember()).tables
    calls: list[str] = []

    async def record_call(call: str) -> None:
        calls.append(call)

    monkeypatch.setattr(tables, "sleep", lambda _: record_call("slept"))
    monkeypatch.setattr(tables, "_update_channels", lambda: record_call("announced"))
    monkeypatch.setattr(tables, "_recovery", SimpleNamespace(start=lambda: record_call("recovers")))
    await tables.on_start()
    assert calls == ["announced", "recovers"]


async def test_crash_aborts_the_start(app: StartingApp) -> None:
    app.crashed, app.crash_reason = True, ValueError("why")
    with pytest.raises(ValueError, match="why"):
        await _start_or_raise(app)
    await asyncio.sleep(0)
    assert app.was_cancelled


async def test_group_error_aborts_the_start(app: StartingApp) -> None:
    """Faust alone would wait for partitions that are never assigned."""
    app.coordinator._pending_exception = GroupAuthorizationFailedError("g")
    with pytest.raises(GroupAuthorizationFailedError):
        await _start_or_raise(app)


async def test_failed_start_raises(app: StartingApp) -> None:
    async def start() -> None:
        raise OSError("no broker")

    app.start = start  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no broker"):
        await _start_or_raise(app)


@pytest.mark.parametrize("consumer", [None, SimpleNamespace(), SimpleNamespace(_thread=None)])
def test_app_without_consumer_has_no_crash(consumer: Any) -> None:
    app = SimpleNamespace(crashed=False, should_stop=False, consumer=consumer)
    assert crash_of(app) is None


def test_app_creates_no_topics_and_has_a_client_id() -> None:
    app = build_app("validation", Settings(), StaticMember())
    assert app.conf.topic_allow_declare is False
    assert app.conf.broker_client_id == "clipmill-validation"
