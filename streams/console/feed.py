"""Publishes the changes of the history to all event streams.

One task reads the history while there are viewers, and encodes each event once for all of them. A
viewer can resume behind any revision: `changes_behind` reads the changes before it joined, and its
queue receives those after.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from schemas.events import Progress
from streams.console.download_progress import DownloadProgress
from streams.console.errors import CallError
from streams.console.event_text import (
    HEARTBEAT,
    counts_event,
    progress_event,
    requests_event,
    reset_event,
)
from streams.history.rows import RequestFilter, Revision
from streams.history.store import HistoryError, HistoryStore

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""Pause between two reads."""

HEARTBEAT_TICKS = 15
"""Proxies close a connection that is silent for a minute (nginx: proxy_read_timeout)."""

ROWS_MAX = 100
"""Requests of one event: 40 to 60 KB."""

BACKLOG_MAX = 5_000
"""Changes behind which a client reloads its page instead of reading them all."""

QUEUE_EVENTS = 48
"""Events that wait for a slow client, at least 16 s of them; then it is disconnected."""

VIEWERS_MAX = 1_000


class FeedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event for viewers.

    Attributes:
        text: the encoded event.
        revision: the revision behind which a client resumes; None leaves it as it is.
        requests: ids of the changed requests.
    """

    kind: Literal["requests", "counts", "progress", "reset", "heartbeat"]
    text: bytes
    revision: Revision | None = None
    requests: frozenset[str] = frozenset()


class Viewer:
    """The queue of one event stream.

    Args:
        disconnect: aborts the connection of a slow client, whose handler waits for it.
        request_id: of the one request whose progress is sent; None for no progress.

    Attributes:
        report: the newest progress that was queued.
    """

    def __init__(self, disconnect: Callable[[], None], request_id: str | None = None) -> None:
        self.request_id = request_id
        self.report: Progress | None = None
        self._queue: asyncio.Queue[FeedEvent | None] = asyncio.Queue()
        self._disconnect = disconnect

    def put(self, event: FeedEvent) -> bool:
        """Append an event; a full queue disconnects instead, and returns False."""
        if self._queue.qsize() < QUEUE_EVENTS:
            self._queue.put_nowait(event)
            return True
        self._disconnect()
        self.close()
        return False

    def close(self) -> None:
        """End the stream behind the queued events."""
        self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[FeedEvent]:
        while (event := await self._queue.get()) is not None:
            yield event


class ChangeFeed:
    """Reads the changes of a history for its viewers, and the progress of downloads."""

    def __init__(self, store: HistoryStore, progress: DownloadProgress) -> None:
        self._store = store
        self._progress = progress
        self._viewers: set[Viewer] = set()
        self._starting = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._read_up_to = Revision(0, 0)
        self._counts: FeedEvent | None = None
        self._is_closed = False

    async def join(self, disconnect: Callable[[], None], request_id: str | None = None) -> Viewer:
        """Return a viewer of all changes from now on; `leave` ends it.

        Args:
            disconnect: see `Viewer`.
            request_id: see `Viewer`.

        Raises:
            CallError: there are too many, or the console stops (503).
            HistoryError: the history cannot be read.
        """
        viewer = Viewer(disconnect, request_id)
        async with self._starting:
            if self._is_closed or len(self._viewers) >= VIEWERS_MAX:
                reason = (
                    "the console stops" if self._is_closed else f"{VIEWERS_MAX} streams are open"
                )
                raise CallError(503, "events", f"{reason}; connect again later")
            if self._poller is None or self._poller.done():
                self._read_up_to = await asyncio.to_thread(self._store.revision)
                self._counts = None
                self._poller = asyncio.create_task(self._poll())
            self._viewers.add(viewer)
        if self._counts is not None:
            viewer.put(self._counts)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    async def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for viewer in self._viewers:
            viewer.close()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def changes_behind(self, after: Revision) -> AsyncIterator[FeedEvent]:
        """Iterate over the changes behind a revision, up to now."""
        present = await asyncio.to_thread(self._store.revision)
        if not _is_resumable(after, present):
            yield _reset(present)
            return
        while (event := await asyncio.to_thread(self._next, after)) is not None:
            assert event.revision is not None
            yield event
            after = event.revision

    async def _poll(self) -> None:
        tick = 0
        while True:
            # First: once its request is decided, a page shows no progress.
            self._publish_progress()
            try:
                for event in await asyncio.to_thread(self._read):
                    self._publish(event)
            except HistoryError as error:
                log.warning("the event streams wait: %s", error)
            tick = (tick + 1) % HEARTBEAT_TICKS
            if tick == 0:
                self._publish(FeedEvent(kind="heartbeat", text=HEARTBEAT))
            await asyncio.sleep(TICK_SECONDS)
            if not self._viewers:
                return

    def _publish(self, event: FeedEvent) -> None:
        self._viewers = {viewer for viewer in self._viewers if viewer.put(event)}

    def _publish_progress(self) -> None:
        """Send each viewer the progress of its request, if it has a newer report."""
        for viewer in tuple(self._viewers):
            if viewer.request_id is None:
                continue
            report = self._progress.get(viewer.request_id)
            if report is not None and report is not viewer.report:
                viewer.report = report
                if not viewer.put(FeedEvent(kind="progress", text=progress_event(report))):
                    self._viewers.discard(viewer)

    def _read(self) -> list[FeedEvent]:
        """Return the events of one tick, at most one of each kind.

        Raises:
            HistoryError: nothing counts as read.
        """
        present = self._store.revision()
        if present == self._read_up_to and self._counts is not None:
            return []
        changes = self._changes(self._read_up_to, present)
        text = counts_event(self._store.counts(RequestFilter()))
        self._read_up_to = present
        if changes is not None and changes.revision is not None:
            self._read_up_to = changes.revision
        found = [] if changes is None else [changes]
        if self._counts is None or text != self._counts.text:
            self._counts = FeedEvent(kind="counts", text=text)
            found.append(self._counts)
        return found

    def _changes(self, after: Revision, present: Revision) -> FeedEvent | None:
        return self._next(after) if _is_resumable(after, present) else _reset(present)

    def _next(self, after: Revision) -> FeedEvent | None:
        """Return the earliest changes behind a revision, None without any."""
        found = self._store.changes(after.number, ROWS_MAX + 1)
        if not found:
            return None
        changes, more = found[:ROWS_MAX], len(found) > ROWS_MAX
        rows = [each.row for each in changes]
        revision = Revision(after.generation, changes[-1].number)
        return FeedEvent(
            kind="requests",
            text=requests_event(revision, rows, more=more),
            revision=revision,
            requests=frozenset(row.id for row in rows),
        )


def _is_resumable(after: Revision, present: Revision) -> bool:
    return (
        after.generation == present.generation and 0 <= present.number - after.number <= BACKLOG_MAX
    )


def _reset(present: Revision) -> FeedEvent:
    return FeedEvent(kind="reset", text=reset_event(present), revision=present)
