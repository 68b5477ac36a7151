"""What a stage does beside its records: sweeps of its tables, and records that may be lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from streams.faust_driver.tables import StageTable
from streams.observability.metrics import TABLE_BYTES, TABLE_ROWS, StageMetrics
from streams.records import Effect, Outgoing
from streams.runtime.consumption import cancel
from streams.stage import Sweep

log = logging.getLogger(__name__)

SUPPLEMENTS_MAX = 1_000
"""Records that may be lost and are not written yet; while the cluster is away more are dropped."""

MEASURE_SECONDS = 15.0
"""Pause between measurements of tables: one takes 15 ms for 300,000 rows."""

Write = Callable[[Sequence[Effect]], Awaitable[object]]
"""Writes effects; returns when they are acknowledged."""


class Housekeeping:
    """The housekeeping of one stage.

    Args:
        ready: set while the stage has its partitions and tables; without them nothing is swept.
    """

    def __init__(
        self, stage: str, write: Write, *, tables: Mapping[str, StageTable], ready: asyncio.Event
    ) -> None:
        self._stage = stage
        self._write = write
        self._tables = tables
        self._ready = ready
        self._metrics = StageMetrics(stage)
        self._supplements: set[asyncio.Task[None]] = set()

    def publish_best_effort(self, record: Outgoing) -> None:
        """Send a record that may be lost, without waiting for it."""
        if len(self._supplements) >= SUPPLEMENTS_MAX:
            return
        task = asyncio.create_task(self._send(record))
        self._supplements.add(task)
        task.add_done_callback(self._supplements.discard)

    async def _send(self, record: Outgoing) -> None:
        try:
            await self._write([record])
        except Exception as error:  # noqa: BLE001  (a supplement hurts nobody)
            log.warning("%s: supplement lost: %r", self._stage, error)

    async def sweep_every(self, seconds: float, sweep: Sweep) -> None:
        """Write what a sweep returns, again and again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._write(sweep() if self._ready.is_set() else ())
            except Exception:
                self._metrics.bugs.inc()
                log.exception("%s: housekeeping failed, next time again", self._stage)

    async def measure_tables(self) -> None:
        """Show the size of the tables for ever."""
        while True:
            for name, table in self._tables.items():
                TABLE_ROWS.labels(self._stage, name).set(len(table))
                TABLE_BYTES.labels(self._stage, name).set(table.size_bytes)
            await asyncio.sleep(MEASURE_SECONDS)

    async def stop(self) -> None:
        """Give up the supplements that are not written yet."""
        await cancel(*self._supplements)
