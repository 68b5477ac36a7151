"""A console over a history that a test writes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from streams.console.server import build_console
from streams.history.changes import Event, RequestChange
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore

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


@asynccontextmanager
async def running_console(directory: Path, *changes: RequestChange) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    """Serve a history of these changes."""
    with HistoryStore(directory / "history.db") as store:
        records = [FoldedRecord(0, offset, each) for offset, each in enumerate(changes)]
        store.apply("audit", records, {}, store.open_generation("cluster"))
        async with TestClient(TestServer(build_console(store))) as client:
            yield client
