"""A stage's background writes: periodic sweeps of its tables, and best-effort records.

Sweeps are at-least-once like all table writes; best-effort records (progress) may be dropped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from streams.errors import StageFailedError
from streams.faust_driver.tables import StageTable
from streams.observability.metrics import TABLE_BYTES, TABLE_ROWS, StageMetrics
from streams.records import Effect, Outgoing
from streams.runtime.record_tasks import cancel
from streams.stage import PeriodicTask

log = logging.getLogger(__name__)

BEST_EFFORT_MAX = 1_000
"""Best-effort records in flight; during an outage further ones are dropped."""

MEASURE_SECONDS = 15.0
"""Pause between measurements; measuring a table in memory takes 15 ms for 300,000 rows."""

WriteEffects = Callable[[Sequence[Effect]], Awaitable[object]]
"""Writes effects; returns when they are acknowledged."""


class Housekeeping:
    """Background writes and table metrics of one stage.

    Args:
        ready: set while the stage has its partitions and tables; sweeps are skipped otherwise.
        fail: fails the stage.
    """

    def __init__(
        self,
        stage: str,
        write: WriteEffects,
        *,
        tables: Mapping[str, StageTable],
        ready: asyncio.Event,
        fail: Callable[[BaseException], object],
    ) -> None:
        self._stage = stage
        self._write = write
        self._tables = tables
        self._ready = ready
        self._fail = fail
        self._metrics = StageMetrics(stage)
        self._best_effort: set[asyncio.Task[None]] = set()

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

    async def run_sweep(self, seconds: float, sweep: PeriodicTask) -> None:
        """Write the results of a sweep periodically; a failure does not end the loop."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._sweep(sweep)
            except StageFailedError as error:
                self._fail(error)
            except Exception:
                self._metrics.bugs.inc()
                log.exception("%s: housekeeping failed, next time again", self._stage)

    async def _sweep(self, sweep: PeriodicTask) -> None:
        if not self._ready.is_set():
            return
        for effects in sweep():
            # A rebalance may have taken the table.
            if not self._ready.is_set():
                return
            if effects:
                await self._write(effects)
            else:
                await asyncio.sleep(0)

    async def measure_tables(self) -> None:
        """Report the sizes of the tables to the metrics, until cancelled."""
        while True:
            try:
                for name, table in self._tables.items():
                    TABLE_ROWS.labels(self._stage, name).set(len(table))
                    TABLE_BYTES.labels(self._stage, name).set(table.size_bytes)
            except StageFailedError as error:
                self._fail(error)
            await asyncio.sleep(MEASURE_SECONDS)

    async def stop(self) -> None:
        """Cancel the best-effort writes in flight."""
        await cancel(*self._best_effort)
