"""Serves the console over the history in a directory, without a cluster; prints its URL."""

import asyncio
import sys
from pathlib import Path

from streams.client import RequestProducer
from streams.cluster.shared_state import SharedState
from streams.console.dead_letters import DeadLetters
from streams.console.download_progress import DownloadProgress
from streams.console.health.lag import LagReader, StageLag
from streams.console.jobs.store import FILE_NAME as JOBS_FILE_NAME
from streams.console.jobs.store import JobStore
from streams.console.pipeline import Pipeline
from streams.console.server import serve_console
from streams.console.services import Services
from streams.history.store import FILE_NAME, HistoryStore
from streams.settings import Settings


async def no_stages() -> dict[str, StageLag]:
    return {}


async def main(directory: Path) -> None:
    settings = Settings()
    with (
        HistoryStore(directory / FILE_NAME) as store,
        JobStore(directory / JOBS_FILE_NAME) as jobs,
    ):
        producer = RequestProducer(settings.kafka)
        dead_letters = DeadLetters(settings)
        dead_letters.index.complete()
        parts = Services(
            settings,
            store,
            jobs,
            producer,
            SharedState(),
            dead_letters,
            Pipeline(settings.kafka, ()),
            (),
            LagReader(no_stages),
            DownloadProgress(),
        )
        async with serve_console("127.0.0.1:0", parts) as url:
            print(url, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
