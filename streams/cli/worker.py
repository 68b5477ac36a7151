"""`clipmill worker`: run selected stages on one of several hosts; `up` runs all of them so, too."""

import asyncio
from collections.abc import Callable, Sequence

import click
import orjson
import uvloop

from streams.cli.errors import readable_errors, stop_signal
from streams.cli.options import bootstrap_option, http_option
from streams.memory.release import collect_less_often, limit_arenas
from streams.observability.event_loop import handle_loop_error
from streams.observability.health import Health
from streams.observability.http_server import serve
from streams.observability.log_folding import report_repeats
from streams.observability.logs import configure_logging
from streams.runtime.worker import Worker
from streams.settings import Settings, load_settings
from streams.stage import Stage, load_stages
from streams.tracing.otlp import open_tracing

READY_POLL_SECONDS = 0.05


@click.command()
@click.argument("stages", nargs=-1, required=True)
@bootstrap_option
@http_option
def worker(stages: tuple[str, ...], bootstrap: str | None, http: str | None) -> None:
    """Run STAGES (or `all`); prints one line of JSON when ready."""
    given = {"kafka": {"bootstrap": bootstrap} if bootstrap else None, "http": http}
    settings = load_settings(**{name: value for name, value in given.items() if value})
    configure_logging(settings)
    with readable_errors():
        uvloop.run(_run(() if stages == ("all",) else stages, settings))


async def _run(names: tuple[str, ...], settings: Settings) -> None:
    stages = load_stages(names)
    started = [stage.name for stage in stages]

    def announce(http: str) -> None:
        click.echo(orjson.dumps({"ready": True, "stages": started, "http": http}))

    await run_stages(stages, settings, announce)


async def run_stages(
    stages: Sequence[Stage], settings: Settings, on_ready: Callable[[str], None]
) -> None:
    """Run stages until SIGTERM or SIGINT; ``on_ready`` gets the HTTP address once all are ready."""
    limit_arenas()
    collect_less_often()
    asyncio.get_running_loop().set_exception_handler(handle_loop_error)
    health = Health()
    # The default address falls back to a free port, so that one host can run several workers.
    http = serve(settings.http, health, or_free_port="http" not in settings.model_fields_set)
    async with open_tracing(), http as address, asyncio.TaskGroup() as group:
        worker = group.create_task(Worker(stages, settings, health).run())
        announcement = group.create_task(_announce(health, address, on_ready))
        repeats = group.create_task(report_repeats())
        async with stop_signal() as stopped:
            waiting = group.create_task(stopped.wait())
            await asyncio.wait([worker, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, announcement, worker, repeats):
            task.cancel()


async def _announce(health: Health, address: str, on_ready: Callable[[str], None]) -> None:
    while health.problems():  # noqa: ASYNC110  (the parts have no common event)
        await asyncio.sleep(READY_POLL_SECONDS)
    on_ready(address)
