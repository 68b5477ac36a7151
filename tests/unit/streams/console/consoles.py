"""A console over a history that a test writes; what it publishes is recorded."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from schemas.codec import decode
from schemas.commands import Command
from streams.client import RequestProducer
from streams.cluster.shared_state import SharedState
from streams.console.jobs.store import JobStore
from streams.console.server import build_console
from streams.console.services import Services
from streams.history.changes import Event, RequestChange
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore
from streams.settings import ConsoleSettings, Settings

HOSTILE = "</td><script>alert(1)</script>\"'&\N{RIGHT-TO-LEFT OVERRIDE}"

CHANGES = (
    RequestChange(
        request_id="done",
        at=2.0,
        received_at=1.0,
        introduces=True,
        state="completed",
        is_final=True,
        url="https://www.tiktok.com/@a/video/7",
        video="tiktok:7",
        attempts=1,
        event=Event(at=2.0, step="ledger", transition="finished", detail={"a": "b"}),
    ),
    RequestChange(
        request_id="b/0",
        at=4.0,
        received_at=3.0,
        introduces=True,
        state="parked",
        batch="b",
        error="platform.breaker_open",
        due=1_000.0,
    ),
    RequestChange(
        request_id=HOSTILE,
        at=6.0,
        received_at=5.0,
        introduces=True,
        state="failed",
        is_final=True,
        url=HOSTILE,
        error="request.invalid",
        event=Event(at=6.0, step=HOSTILE, transition="finished", detail={HOSTILE: HOSTILE}),
    ),
)


TOKEN = "0123456789abcdef-token"


class RecordingProducer(RequestProducer):
    """Records what is published.

    Attributes:
        requests: the bodies.
        commands: the commands.
        error: raised instead, when set.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.commands: list[Command] = []
        self.error: Exception | None = None

    async def publish(self, bodies: Sequence[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.requests += [decode(body, dict[str, Any]) for body in bodies]

    async def send_command(self, *commands: Command) -> None:
        if self.error is not None:
            raise self.error
        self.commands += commands


def services(store: HistoryStore, jobs: JobStore, **console: Any) -> Services:
    """Return the services of a console with these settings."""
    settings = Settings(console=ConsoleSettings(**console))
    return Services(settings, store, jobs, RecordingProducer(), SharedState())


class Console(TestClient):  # type: ignore[type-arg]
    """Client of a console, and what it has published."""

    def __init__(self, services: Services) -> None:
        super().__init__(TestServer(build_console(services)))
        self.services = services

    @property
    def producer(self) -> RecordingProducer:
        assert isinstance(self.services.producer, RecordingProducer)
        return self.services.producer


@asynccontextmanager
async def running_console(
    directory: Path, *changes: RequestChange, **console: Any
) -> AsyncIterator[Console]:
    """Serve a history of these changes, with these settings of the console."""
    with (
        HistoryStore(directory / "history.db") as store,
        JobStore(directory / "console.db") as jobs,
    ):
        records = [FoldedRecord(0, offset, each) for offset, each in enumerate(changes)]
        store.apply("audit", records, {}, store.open_generation("cluster"))
        async with Console(services(store, jobs, **console)) as client:
            yield client
