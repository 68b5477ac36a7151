"""The background tasks of a stage, most of which write: periodic tasks, best-effort records.

Periodic tasks are at-least-once like all table writes. Best-effort records (progress) may be
dropped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from streams.errors import StageFailedError
from streams.observability.metrics import StageMetrics
from streams.records import Effect, Outgoing
from streams.runtime.record_tasks import cancel
from streams.stage import PeriodicTask

log = logging.getLogger(__name__)

BEST_EFFORT_MAX = 1_000
"""Best-effort records in flight; during an outage further ones are dropped."""

WriteEffects = Callable[[Sequence[Effect]], Awaitable[object]]
"""Writes effects; returns when they are acknowledged."""


class Housekeeping:
    """Background tasks of one stage.

    Args:
        ready: set while the stage has its partitions and tables; periodic tasks are skipped
            otherwise.
        fail: fails the stage.
    """

    def __init__(
        self,
        stage: str,
        write: WriteEffects,
        *,
        ready: asyncio.Event,
        fail: Callable[[BaseException], object],
    ) -> None:
        self._stage = stage
        self._write = write
        self._ready = ready
        self._fail = fail
        self._metrics = StageMetrics(stage)
        self._tasks: list[asyncio.Task[None]] = []
        self._best_effort: set[asyncio.Task[None]] = set()

    def run_until_stop(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task of the stage, which `stop` cancels."""
        self._tasks.append(asyncio.create_task(work))

    def publish_best_effort(self, record: Outgoing) -> None:
        """Publish a record without waiting; it is lost when the write fails."""
        if len(self._best_effort) >= BEST_EFFORT_MAX:
            return
        task = asyncio.create_task(self._send(record))
        self._best_effort.add(task)
        task.add_done_callback(self._best_effort.discard)

    async def _send(self, record: Outgoing) -> None:
        try:
            await self._write([record])
        except Exception as error:  # noqa: BLE001  (best effort: logged only)
            log.warning("%s: a best-effort record is lost: %r", self._stage, error)

    async def run_periodically(self, seconds: float, task: PeriodicTask) -> None:
        """Write the effects of a task periodically; a failure does not end the loop."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._run_once(task)
            except StageFailedError as error:
                self._fail(error)
            except Exception:
                self._metrics.bugs.inc()
                log.exception("%s: housekeeping failed, retried at the next interval", self._stage)

    async def _run_once(self, task: PeriodicTask) -> None:
        if not self._ready.is_set():
            return
        for effects in task():
            # A rebalance may have taken the table.
            if not self._ready.is_set():
                return
            if effects:
                await self._write(effects)
            else:
                await asyncio.sleep(0)

    async def stop(self) -> None:
        """Cancel the tasks, and the best-effort writes in flight."""
        await cancel(*self._tasks, *self._best_effort)
