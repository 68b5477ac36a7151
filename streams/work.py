"""The work of one stage: at most so many at a time, one at a time per key, nothing lost.

For each record: wait for the turn of its key, take a slot, call the handler, write everything
that it returned, and only then report the record as finished. A kill on any of these lines leaves
the record uncommitted, so it is read again.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from schemas.errors import ClipmillError, ErrorCode
from streams.letter_limit import LetterLimit
from streams.letters.facts import make_letter, name_origin, replays_of
from streams.logs import REQUEST, TRACE
from streams.metrics import DEAD_LETTERS, REPLAYS, StageMetrics
from streams.outbox import Outbox, Write
from streams.records import Barrier, Effect, Incoming, Outgoing, TableWrite
from streams.settings import DeadLetterSettings
from streams.slots import Slots
from streams.stage import Handler, Stage
from streams.tables import StageTable
from streams.topics import DEADLETTERS

log = logging.getLogger(__name__)

Finished = Callable[[Incoming], None]


class Work:
    """Runs a handler over records.

    Args:
        finished: called when everything that a record led to is acknowledged.
        limit: how many dead letters of a step stop its intake.
    """

    def __init__(
        self,
        stage: Stage,
        handler: Handler,
        *,
        outbox: Outbox,
        tables: Mapping[str, StageTable],
        concurrency: int,
        topic_prefix: str,
        finished: Finished,
        limit: DeadLetterSettings | None = None,
    ) -> None:
        self._stage = stage
        self._handler = handler
        self._outbox = outbox
        self._tables = tables
        self._slots = Slots(concurrency)
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._prefix = topic_prefix
        self._finished = finished
        self._limit = LetterLimit(limit or DeadLetterSettings())
        self._metrics = StageMetrics(stage.name)

    async def run(self, record: Incoming) -> None:
        """Do all the work of one record. Never raises, except when cancelled."""
        started = time.perf_counter()
        REQUEST.set(record.header("ce_correlationid") or record.position)
        TRACE.set((record.header("traceparent") or "")[3:35])
        self._metrics.records_in.inc()
        if replays_of(record):
            REPLAYS.labels(self._stage.name).inc()
        with self._metrics.in_progress.track_inprogress():
            async with self._turn(record.key):
                written = await self._settle(record)
        self._finished(record)
        self._metrics.finished(started, written)

    def _turn(self, key: bytes | None) -> asyncio.Lock:
        """Return the lock of a key; its waiters are served in the order of their records."""
        if key is None or not self._stage.ordered:
            return asyncio.Lock()
        return self._turns.setdefault(key, asyncio.Lock())

    async def _settle(self, record: Incoming) -> int:
        """Do the work and write what came of it, or else the report of why not."""
        try:
            async with self._slots.taken():
                effects = await self._handler(record)
            return await self.write(effects, record)
        except Exception as error:  # noqa: BLE001  (a bug becomes a record, never a lost event)
            return await self._report(record, error)

    async def _report(self, record: Incoming, error: Exception) -> int:
        """Write the stage's own report; failing that a dead letter, failing that its stub."""
        self._metrics.bugs.inc()
        log.error("%s: bug at %s", self._stage.name, record.position, exc_info=error)
        for report in (self._stage.on_bug, self._dead_letter):
            try:
                return await self.write(report(record, error), record)
            except Exception:
                log.exception("%s: %s cannot be reported so", self._stage.name, record.position)
        return await self.write([dead_letter(stub(record), error, self._stage.name)], record)

    def _dead_letter(self, record: Incoming, error: Exception) -> Sequence[Effect]:
        return [dead_letter(record, error, self._stage.name)]

    async def write(self, effects: Sequence[Effect], record: Incoming | None = None) -> int:
        """Write effects, of a record or of housekeeping; return how many when acknowledged.

        Rows go to the partition of the record, and become visible when they are acknowledged.
        What stands before a `Barrier` is acknowledged before what stands behind it is written.
        """
        written = 0
        for part in _parts([*effects, *self._limit.stops(effects, self._stage.name)]):
            await self._outbox.publish([self.to_write(effect, record) for effect in part])
            for effect in part:
                if isinstance(effect, TableWrite):
                    self._tables[effect.table].show(effect, record.partition if record else None)
            written += len(part)
        return written

    def to_write(self, effect: Outgoing | TableWrite, record: Incoming | None = None) -> Write:
        """Return the Kafka record of an effect."""
        if isinstance(effect, TableWrite):
            partition = record.partition if record else None
            return self._tables[effect.table].changelog(effect, partition)
        name = effect.topic.kafka_name(self._prefix)
        headers = effect.headers
        if effect.topic is DEADLETTERS:
            headers = name_origin(effect, self._prefix)
        return Write(name, effect.key, effect.value, headers)


def _parts(effects: Sequence[Effect]) -> Iterator[list[Outgoing | TableWrite]]:
    part: list[Outgoing | TableWrite] = []
    for effect in effects:
        if isinstance(effect, Barrier):
            yield part
            part = []
        else:
            part.append(effect)
    yield part


def dead_letter(record: Incoming, error: Exception, step: str) -> Outgoing:
    """Return a record that nobody can read as a dead letter."""
    DEAD_LETTERS.labels(type(error).__name__).inc()
    code = error.code if isinstance(error, ClipmillError) else ErrorCode.INTERNAL_BUG
    reason = "".join(traceback.format_exception_only(error))
    return make_letter(record, step=step, code=code, reason=reason)


STUB_KEY_BYTES = 1_000


def stub(record: Incoming) -> Incoming:
    """Return what is kept of a record that is too large even for the dead letters: its name."""
    key = None if record.key is None else record.key[:STUB_KEY_BYTES]
    return replace(record, key=key, value=None, headers=())
