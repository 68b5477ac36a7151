import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from streams.faust_driver import app as module
from streams.faust_driver.app import _start_or_crash, build_app, crash_of
from streams.faust_driver.static_member import StaticMember
from streams.settings import Settings

pytestmark = pytest.mark.usefixtures("own_settings")


class StartingApp:
    """An app that starts when the test says so."""

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


async def test_a_start_is_waited_for(app: StartingApp) -> None:
    asyncio.get_running_loop().call_later(0.05, app.started.set)
    await _start_or_crash(app)
    assert crash_of(app) is None


async def test_tables_are_ready_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = build_app("toy", Settings(), StaticMember()).tables
    done: list[str] = []

    async def note(what: str) -> None:
        done.append(what)

    monkeypatch.setattr(tables, "sleep", lambda _: note("slept"))
    monkeypatch.setattr(tables, "_update_channels", lambda: note("announced"))
    monkeypatch.setattr(tables, "_recovery", SimpleNamespace(start=lambda: note("recovers")))
    await tables.on_start()
    assert done == ["announced", "recovers"]


async def test_a_crash_ends_the_start(app: StartingApp) -> None:
    app.crashed, app.crash_reason = True, ValueError("why")
    with pytest.raises(ValueError, match="why"):
        await _start_or_crash(app)
    await asyncio.sleep(0)
    assert app.was_cancelled


async def test_an_error_of_the_group_ends_the_start(app: StartingApp) -> None:
    """Faust would wait for partitions that never come."""
    app.coordinator._pending_exception = GroupAuthorizationFailedError("g")
    with pytest.raises(GroupAuthorizationFailedError):
        await _start_or_crash(app)


async def test_a_start_that_fails_raises(app: StartingApp) -> None:
    async def start() -> None:
        raise OSError("no broker")

    app.start = start  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no broker"):
        await _start_or_crash(app)


@pytest.mark.parametrize("consumer", [None, SimpleNamespace(), SimpleNamespace(_thread=None)])
def test_an_app_without_a_consumer_yet_has_no_error(consumer: Any) -> None:
    app = SimpleNamespace(crashed=False, should_stop=False, consumer=consumer)
    assert crash_of(app) is None


def test_an_app_creates_no_topics_and_has_a_client_id() -> None:
    app = build_app("validation", Settings(), StaticMember())
    assert app.conf.topic_allow_declare is False
    assert app.conf.broker_client_id == "clipmill-validation"
