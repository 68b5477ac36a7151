"""`clipmill console`: serve the console and its API."""

import asyncio
from contextlib import aclosing
from functools import partial

import click
import orjson

from streams.cli.errors import readable_errors, stop_signal
from streams.cli.options import bootstrap_option, client_settings
from streams.client import RequestProducer
from streams.cluster.shared_state import open_shared_state
from streams.console.dead_letters import DeadLetters
from streams.console.download_progress import DownloadProgress
from streams.console.health.lag import LagReader, measure_lag
from streams.console.jobs.runner import BulkJobRunner
from streams.console.jobs.store import FILE_NAME as JOBS_FILE_NAME
from streams.console.jobs.store import JobStore
from streams.console.pipeline import Pipeline
from streams.console.server import serve_console
from streams.console.services import Services
from streams.deadletters.follower import DeadLetterFollower
from streams.history.follower import HistoryFollower
from streams.history.store import FILE_NAME, HistoryStore
from streams.observability.logs import configure_logging
from streams.settings import Settings
from streams.stage import load_stages


@click.command()
@bootstrap_option
@click.option("--http", help="HOST:PORT to listen on; default: the setting console.http.")
def console(bootstrap: str | None, http: str | None) -> None:
    """Serve the web console and its API; prints one line of JSON when ready."""
    settings = client_settings(bootstrap)
    configure_logging(settings)
    with (
        readable_errors(),
        HistoryStore(settings.data_dir / FILE_NAME) as store,
        JobStore(settings.data_dir / JOBS_FILE_NAME) as jobs,
    ):
        asyncio.run(_run(settings, store, jobs, http or settings.console.http))


async def _run(settings: Settings, store: HistoryStore, jobs: JobStore, address: str) -> None:
    dead_letters, progress = DeadLetters(settings), DownloadProgress()
    stages = load_stages()
    pipeline = Pipeline(settings.kafka, stages)
    lag = LagReader(partial(measure_lag, settings.kafka, stages, pipeline))
    async with (
        aclosing(lag),
        aclosing(dead_letters.replays),
        HistoryFollower(settings.kafka, store, settings.history) as follower,
        RequestProducer(settings.kafka) as producer,
        open_shared_state(settings.kafka) as shared_state,
        serve_console(
            address,
            Services(
                settings,
                store,
                jobs,
                producer,
                shared_state,
                dead_letters,
                pipeline,
                stages,
                lag,
                progress,
                follower.orders_problem,
            ),
        ) as url,
        stop_signal() as stopped,
        asyncio.TaskGroup() as group,
    ):
        indexing = DeadLetterFollower(settings.kafka, dead_letters.index)
        tasks = [group.create_task(each.follow()) for each in (follower, indexing)]
        tasks.append(group.create_task(progress.follow(settings.kafka)))
        if not settings.console.read_only:
            tasks.append(group.create_task(BulkJobRunner(jobs, store, producer).run()))
        click.echo(orjson.dumps({"ready": True, "console": url}))
        await stopped.wait()
        for task in tasks:
            task.cancel()
