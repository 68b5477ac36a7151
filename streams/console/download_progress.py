"""Progress of the downloads of all workers, in memory: the newest report of each request."""

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from cachetools import TTLCache

from schemas.events import Progress
from streams.cluster.connection import translate_errors
from streams.cluster.topic_reader import TopicReader
from streams.errors import OperatorError
from streams.settings import KafkaSettings
from streams.topics import PROGRESS

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Time for which a report counts. A worker sends two per second while bytes arrive; a download that
stalls for `download.stall_timeout_seconds` fails."""

REQUESTS_MAX = 10_000
"""Requests with a report, some 1 KB each; beyond that the oldest reports are dropped."""

RETRY_SECONDS = 5.0


class DownloadProgress:
    """Newest reports of the requests that are downloaded now.

    A console that starts during a download has its next report within a second. A finished download
    keeps its last one for `REPORT_SECONDS`; the history knows that it is finished.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._newest: TTLCache[str, Progress] = TTLCache(REQUESTS_MAX, REPORT_SECONDS, clock)
        self._changed: set[str] = set()

    def add(self, report: Progress) -> None:
        self._newest[report.request_id] = report
        if len(self._changed) == REQUESTS_MAX:
            self._changed.clear()  # nobody reads them
        self._changed.add(report.request_id)

    def get(self, request_id: str) -> Progress | None:
        return self._newest.get(request_id)

    def take_changed(self) -> frozenset[str]:
        """Return the requests with reports since the last call."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    async def follow(self, kafka: KafkaSettings) -> None:
        """Add the reports of all workers from now on; read until cancelled."""
        reported = ""
        while True:
            try:
                async with translate_errors(kafka), TopicReader(kafka, PROGRESS) as reader:
                    async for received in reader.records():
                        self._add_message(received.message)
            except OperatorError as error:
                if str(error) != reported:
                    reported = str(error)
                    log.warning("the progress of downloads cannot be read: %s", reported)
            await asyncio.sleep(RETRY_SECONDS)

    def _add_message(self, message: object) -> None:
        try:
            self.add(msgspec.convert(message, Progress))
        except msgspec.ValidationError:
            return  # of another producer
