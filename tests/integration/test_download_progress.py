"""The console follows the progress topic of a real broker."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from schemas.codec import encode
from streams.console import download_progress
from streams.console.download_progress import DownloadProgress
from streams.settings import KafkaSettings
from streams.topics import PROGRESS
from tests.integration.kafka_client import create_topics, produce
from tests.unit.streams.console.rows import progress_report

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def publish_until(kafka: KafkaSettings, name: str, condition: Callable[[], bool]) -> None:
    """Publish reports as a worker does, repeatedly: those before the reader's start are missed."""
    report = encode(progress_report(name))
    foreign = [b"\xff", b"{}", json.dumps({"request_id": 7}).encode(), b'{"request_id": "x"}']
    foreign += [b'{"request_id": "x", "a": ' + b"[" * 100_000]
    async with asyncio.timeout(30):
        while not condition():
            values = [*foreign, report]
            await produce(kafka, PROGRESS, [(name.encode(), it, (), None) for it in values])
            await asyncio.sleep(0.1)


async def test_reports_are_followed_once_their_topic_exists(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(download_progress, "RETRY_SECONDS", 0.2)
    progress = DownloadProgress()
    task = asyncio.create_task(progress.follow(kafka))
    try:
        async with asyncio.timeout(20):
            while "cannot be read" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await create_topics(kafka, PROGRESS)
        await publish_until(kafka, "r1", lambda: progress.get("r1") is not None)
        assert progress.get("x") is None
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
