"""`clipmill up`: runs all stages on one host and supervises the embedded broker and the console."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson
import uvloop

from streams.broker import launcher
from streams.broker.broker import EmbeddedBroker
from streams.broker.server import RestartPolicy, terminate
from streams.cli.errors import readable_errors
from streams.cli.options import http_option
from streams.cli.worker import run_stages
from streams.cluster.topic_admin import apply_topics
from streams.observability.logs import configure_logging
from streams.settings import Settings, load_settings
from streams.settings.kinds import HIGHEST_PORT
from streams.stage import load_stages, topics_of

log = logging.getLogger(__name__)

DEFAULT_PORT = 9_092
"""Port that Kafka clients, and the other commands of clipmill, connect to by default."""

CONSOLE_STOP_SECONDS = 5.0

_MAIN = "from streams.cli import main; main()"


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Files and broker data.")
@click.option(
    "--bootstrap", help="HOST:PORT of an existing Kafka; default: the setting kafka.bootstrap."
)
@click.option(
    "--kafka-port",
    type=click.IntRange(1, HIGHEST_PORT),
    help=f"Port of the embedded Kafka; by default {DEFAULT_PORT} or, if it is taken, a free one.",
)
@http_option
@click.option("--console", "with_console", is_flag=True, help="Serve the console, too.")
def up(
    *,
    data_dir: Path | None,
    bootstrap: str | None,
    kafka_port: int | None,
    http: str | None,
    with_console: bool,
) -> None:
    """Run all stages, and an embedded Kafka unless kafka.bootstrap is set.

    Prints one line of JSON when ready, and another one when the console is.
    """
    kafka = {"bootstrap": bootstrap} if bootstrap else None
    given = {"data_dir": data_dir, "http": http, "kafka": kafka}
    settings = load_settings(**{name: value for name, value in given.items() if value})
    configure_logging(settings)
    if "bootstrap" not in settings.kafka.model_fields_set:
        running = _run_with_broker(settings, kafka_port, with_console=with_console)
    elif kafka_port is None:
        running = _run(settings, with_console=with_console)
    else:
        raise click.UsageError(
            "--kafka-port is the port of the embedded Kafka, which is not started: "
            f"kafka.bootstrap is {settings.kafka.bootstrap}"
        )
    with readable_errors():
        uvloop.run(running)


async def _run_with_broker(settings: Settings, port: int | None, *, with_console: bool) -> None:
    folder = settings.data_dir / "kafka"
    async with EmbeddedBroker(folder, port=port, preferred_port=DEFAULT_PORT) as broker:
        tasks = [
            asyncio.create_task(broker.supervise()),
            asyncio.create_task(
                _run(with_bootstrap(settings, broker.bootstrap), with_console=with_console)
            ),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


async def _run(settings: Settings, *, with_console: bool) -> None:
    stages = load_stages()
    await apply_topics(settings.kafka, topics_of(stages, settings.kafka.reply_topics))
    ready = asyncio.Event()

    def announce(http: str) -> None:
        _announce(settings, http)
        ready.set()

    console = asyncio.create_task(supervise_console(settings, ready)) if with_console else None
    try:
        await run_stages(stages, settings, announce)
    finally:
        if console is not None:
            console.cancel()
            await asyncio.gather(console, return_exceptions=True)


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


async def supervise_console(
    settings: Settings, ready: asyncio.Event, policy: RestartPolicy | None = None
) -> None:
    """Run `clipmill console` as a child process once ``ready`` is set, until cancelled.

    Its reads do not delay the stages. It prints its own line of JSON, and is restarted when it
    exits, but not after repeated failures; the stages run on.
    """
    await ready.wait()
    policy = policy or RestartPolicy()
    early_exits = 0
    while True:
        started_at = time.monotonic()
        status = await _run_console(settings)
        uptime = time.monotonic() - started_at
        early_exits = policy.count(early_exits, uptime, was_ready=True)
        delay = policy.delay(early_exits)
        if delay is None:
            log.error(
                "the console exited %d times in a row, last with status %d, and is not restarted; "
                "start it with `clipmill console`",
                early_exits,
                status,
            )
            return
        log.warning("the console exited with status %d; restart in %.1f s", status, delay)
        await asyncio.sleep(delay)


async def _run_console(settings: Settings) -> int:
    process = await asyncio.create_subprocess_exec(
        # The process is killed with this one.
        *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())),
        *(sys.executable, "-c", _MAIN, "console", "--bootstrap", settings.kafka.bootstrap),
        env={
            **os.environ,
            "CLIPMILL_DATA_DIR": str(settings.data_dir.absolute()),
            "CLIPMILL_CONSOLE__HTTP": settings.console.http,
        },
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await process.wait()
    finally:
        await terminate(process, CONSOLE_STOP_SECONDS)
