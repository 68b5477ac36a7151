"""`clipmill console`: serve the history of requests as pages and an API."""

import asyncio

import click
import orjson

from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.service import stop_signal
from streams.console.server import serve_console
from streams.history.follower import HistoryFollower
from streams.history.store import FILE_NAME, HistoryStore
from streams.observability.logs import configure_logging
from streams.settings import Settings

ADDRESS = "127.0.0.1:8090"


@click.command()
@bootstrap_option
@click.option("--http", default=ADDRESS, show_default=True, help="HOST:PORT, on loopback.")
def console(bootstrap: str | None, http: str) -> None:
    """Serve the history of requests in a browser; prints one line of JSON when ready."""
    settings = client_settings(bootstrap)
    configure_logging(settings)
    with readable_errors(), HistoryStore(settings.data_dir / FILE_NAME) as store:
        asyncio.run(_run(settings, store, http))


async def _run(settings: Settings, store: HistoryStore, http: str) -> None:
    async with (
        HistoryFollower(settings.kafka, store, settings.history) as follower,
        serve_console(http, store) as url,
        stop_signal() as stopped,
        asyncio.TaskGroup() as group,
    ):
        following = group.create_task(follower.follow())
        click.echo(orjson.dumps({"ready": True, "console": url}))
        await stopped.wait()
        following.cancel()
