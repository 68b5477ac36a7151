"""`clipmill up`: run the embedded broker and all stages on one host."""

import asyncio
from pathlib import Path
from typing import Any

import click
import orjson
import uvloop

from streams.broker.broker import EmbeddedBroker
from streams.cli.errors import readable_errors
from streams.cli.options import http_option
from streams.cli.service import run_stages
from streams.cluster.topic_admin import apply_topics
from streams.observability.logs import configure_logging
from streams.settings import Settings, load_settings
from streams.stage import load_stages, topics_of


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Files and broker data.")
@click.option("--bootstrap", help="HOST:PORT of your Kafka; without it an embedded one is started.")
@http_option
def up(data_dir: Path | None, bootstrap: str | None, http: str | None) -> None:
    """Run broker and all stages; prints one line of JSON when ready."""
    kafka = {"bootstrap": bootstrap} if bootstrap else None
    given = {"data_dir": data_dir, "http": http, "kafka": kafka}
    settings = load_settings(**{name: value for name, value in given.items() if value})
    configure_logging(settings)
    with readable_errors():
        uvloop.run(_run(settings) if bootstrap else _run_with_broker(settings))


async def _run_with_broker(settings: Settings) -> None:
    async with EmbeddedBroker(settings.data_dir / "kafka") as broker:
        tasks = [
            asyncio.create_task(broker.supervise()),
            asyncio.create_task(_run(with_bootstrap(settings, broker.bootstrap))),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


async def _run(settings: Settings) -> None:
    stages = load_stages()
    await apply_topics(settings.kafka, topics_of(stages, settings.kafka.reply_topics))
    await run_stages(stages, settings, lambda http: _announce(settings, http))


def with_bootstrap(settings: Settings, bootstrap: str) -> Settings:
    kafka = settings.kafka.model_copy(update={"bootstrap": bootstrap})
    return settings.model_copy(update={"kafka": kafka})


def _announce(settings: Settings, http: str) -> None:
    line: dict[str, Any] = {
        "ready": True,
        "bootstrap": settings.kafka.bootstrap,
        "http": http,
        "data_dir": str(settings.data_dir.absolute()),
    }
    click.echo(orjson.dumps(line))
