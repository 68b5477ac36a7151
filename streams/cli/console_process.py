"""The console as a child process of `clipmill up`: its reads do not delay the stages."""

import asyncio
import logging
import os
import subprocess
import sys
import time

from streams.broker import launcher
from streams.broker.server import RestartPolicy, terminate
from streams.settings import Settings

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0

_MAIN = "from streams.cli import main; main()"


async def supervise_console(
    settings: Settings, ready: asyncio.Event, policy: RestartPolicy | None = None
) -> None:
    """Run `clipmill console` once ``ready`` is set, until cancelled; restart it when it exits.

    It prints its own line of JSON. After repeated failures it is not restarted; the stages run on.
    """
    await ready.wait()
    policy = policy or RestartPolicy()
    early_exits = 0
    while True:
        started_at = time.monotonic()
        status = await _run(settings)
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


async def _run(settings: Settings) -> int:
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
        await terminate(process, STOP_SECONDS)
