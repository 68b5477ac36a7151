"""Progress of the downloads of all workers, in memory: the newest report of each request."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from cachetools import TTLCache

from schemas.codec import encode
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
"""Requests with a report; beyond that the oldest reports are dropped."""

REPORT_BYTES_MAX = 4_096
"""A report of a worker has some 260 bytes; other producers could fill the memory."""

RETRY_SECONDS = 5.0


class DownloadProgress:
    """Newest reports of the requests that are being downloaded.

    A console that starts during a download has its next report within a second. The last report of
    a download is kept for `REPORT_SECONDS`; the history has the state of its request.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._newest: TTLCache[str, Progress] = TTLCache(REQUESTS_MAX, REPORT_SECONDS, clock)

    def add(self, report: Progress) -> None:
        self._newest[report.request_id] = report

    def add_message(self, message: dict[str, Any]) -> None:
        """Add a report from the topic; others than those of workers are ignored."""
        try:
            report = msgspec.convert(message, Progress)
        except msgspec.ValidationError:
            return
        if len(encode(report)) <= REPORT_BYTES_MAX:
            self.add(report)

    def get(self, request_id: str) -> Progress | None:
        return self._newest.get(request_id)

    async def follow(self, kafka: KafkaSettings) -> None:
        """Add the reports of all workers from now on; read until cancelled."""
        reported = ""
        while True:
            try:
                async with translate_errors(kafka), TopicReader(kafka, PROGRESS) as reader:
                    async for received in reader.records():
                        self.add_message(received.message)
            except OperatorError as error:
                if str(error) != reported:
                    reported = str(error)
                    log.warning("the progress of downloads cannot be read: %s", reported)
            await asyncio.sleep(RETRY_SECONDS)
