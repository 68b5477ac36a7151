"""Runs stages with health and metrics until SIGTERM or SIGINT; used by `up` and `worker`."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from streams.memory.release import collect_less_often, limit_arenas
from streams.observability.health import Health
from streams.observability.http_server import serve
from streams.observability.log_folding import report_repeats
from streams.observability.loop_errors import handle_loop_error
from streams.observability.metrics import BUILD_INFO
from streams.runtime.worker import Worker
from streams.settings import Settings
from streams.stage import Stage
from streams.tracing.otlp import open_tracing

READY_POLL_SECONDS = 0.05


async def run_stages(
    stages: Sequence[Stage], settings: Settings, on_ready: Callable[[str], None]
) -> None:
    """Run stages until SIGTERM or SIGINT; ``on_ready`` gets the HTTP address once all are ready."""
    limit_arenas()
    collect_less_often()
    BUILD_INFO.labels(version("clipmill")).set(1)
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


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set while the context is open."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
