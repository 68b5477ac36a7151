"""The work of one stage: at most so many at a time, nothing lost.

For each record: take a slot, call the handler, write everything that it returned, and only then
report the record as finished. A kill on any of these lines leaves the record uncommitted, so it is
read again. Which record is next, `streams.runtime.consumption` decides.
"""

import logging
import time
import traceback
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace

from aiokafka.structs import RecordMetadata

from schemas.codec import MalformedMessageError
from schemas.errors import ClipmillError, ErrorCode
from streams.cluster.producer import RecordRefusedError, ReliableProducer, Write
from streams.cluster.record_batches import UndecodableBatch
from streams.deadletters.headers import make_batch_letter, make_letter, name_origin, replays_of
from streams.deadletters.limit import LetterLimit
from streams.faust_driver.tables import StageTable
from streams.observability.logs import REQUEST, TRACE
from streams.observability.metrics import DEAD_LETTERS, REPLAYS, StageMetrics, start_at_zero
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime import process_span
from streams.runtime.concurrency import ConcurrencyLimit
from streams.settings import DeadLetterSettings
from streams.stage import Slices, SlicingHandler, Stage
from streams.topics import BY_NAME, DEADLETTERS, HEARTBEATS
from streams.tracing.scope import Scope, note_failure
from streams.tracing.spans import Recording, now, sent

log = logging.getLogger(__name__)

UNREADABLE = tuple(
    each.__name__ for each in (MalformedMessageError, ClipmillError, UndecodableBatch)
)
"""Reasons of dead letters besides error codes; further ones are the exceptions of bugs."""

Finished = Callable[[Incoming], None]

NextTurn = Callable[[Incoming], Awaitable[None]]
"""Returns when the next slice of a record may be made; a slot is reserved for it then."""

Wrote = Callable[[Incoming, Sequence[Effect]], None]
"""Called with what a record led to, when it is about to be written."""


async def _at_once(_record: Incoming) -> None:
    """Wait for nothing."""


class RecordProcessor:
    """Runs a handler over records.

    Args:
        finished: called when everything that a record led to is acknowledged.
        reply_topics: full names of the topics that may get a record instead of its own topic.
        next_turn: awaited between the slices of a record.
        wrote: called with what a record leads to.
        limit: how many dead letters of a step stop its intake.
    """

    def __init__(
        self,
        stage: Stage,
        handler: SlicingHandler,
        *,
        outbox: ReliableProducer,
        tables: Mapping[str, StageTable],
        slots: ConcurrencyLimit,
        topic_prefix: str,
        finished: Finished,
        reply_topics: Collection[str] = (),
        next_turn: NextTurn = _at_once,
        wrote: Wrote = lambda _record, _effects: None,
        limit: DeadLetterSettings | None = None,
    ) -> None:
        self._stage = stage
        self._handler = handler
        self._outbox = outbox
        self._tables = tables
        self._slots = slots
        self._prefix = topic_prefix
        self._finished = finished
        self._reply_topics = frozenset(reply_topics)
        self._next_turn = next_turn
        self._wrote = wrote
        self._limit = LetterLimit(limit or DeadLetterSettings())
        self._metrics = StageMetrics(stage.name)
        start_at_zero(REPLAYS, [stage.name])
        start_at_zero(DEAD_LETTERS, UNREADABLE)

    async def run(self, record: Incoming) -> None:
        """Do all the work of one record. Never raises, except when cancelled."""
        if record.topic == HEARTBEATS.name:
            await self._answer(record)
            return
        started = time.perf_counter()
        REQUEST.set(record.header("ce_correlationid") or record.record_id)
        scope = process_span.begin(record, self._stage.name, self._due(record))
        TRACE.set(scope.origin.trace_id)
        began = now()
        self._metrics.records_in.inc()
        if replays_of(record):
            REPLAYS.labels(self._stage.name).inc()
        with self._metrics.in_progress.track_inprogress():
            written = await self._settle(record)
        self._finished(record)
        if scope.recorder is not None:
            self._record_processing(scope, record, began)
        self._metrics.finished(started, written)

    async def _answer(self, record: Incoming) -> None:
        """Let a heartbeat be committed, once there is a slot and the cluster takes records."""
        async with self._slots.taken():
            pass
        await self._outbox.available()
        self._finished(record)
        # By the clocks of two processes: the difference may be negative.
        self._metrics.heartbeat.observe(max(0.0, time.time() - record.timestamp))

    def _due(self, record: Incoming) -> float | None:
        return None if self._stage.due is None else self._stage.due(record, time.time())

    def _record_processing(self, scope: Scope, record: Incoming, began: int) -> None:
        topic = BY_NAME[record.topic].kafka_name(self._prefix)
        group = f"{self._prefix}{self._stage.name}"
        process_span.end(scope, record, topic, group, began)

    async def _settle(self, record: Incoming) -> int:
        """Do the work and write what came of it, or else the report of why not."""
        if isinstance(batch := record.value, UndecodableBatch):
            return await self._write_batch(record, batch)
        try:
            async with self._slots.taken():
                effects = await self._handler(record)
            if isinstance(effects, AsyncIterator):
                return await self._write_slices(effects, record)
            self._wrote(record, effects)
            return await self.write(effects, record)
        except Exception as error:  # noqa: BLE001  (a bug becomes a record, never a lost event)
            return await self._report(record, error)

    async def _write_slices(self, slices: Slices, record: Incoming) -> int:
        """Make and write one slice after the other, each at a turn of its own."""
        written = 0
        while True:
            async with self._slots.taken():
                effects = await anext(slices, None)
            if effects is None:
                return written
            self._wrote(record, effects)
            written += await self.write(effects, record)
            await self._next_turn(record)

    async def _report(self, record: Incoming, error: Exception) -> int:
        """Write the stage's own report; failing that a dead letter, failing that its stub."""
        self._metrics.bugs.inc()
        log.error("%s: bug at %s", self._stage.name, record.position, exc_info=error)
        note_failure(ErrorCode.INTERNAL_BUG, type(error).__name__)
        for report in (self._stage.on_bug, self._dead_letter):
            try:
                return await self.write(report(record, error), record)
            except Exception:
                log.exception("%s: %s cannot be reported so", self._stage.name, record.position)
        return await self.write([dead_letter(stub(record), error, self._stage.name)], record)

    async def _write_batch(self, record: Incoming, batch: UndecodableBatch) -> int:
        """Write a batch that cannot be decoded as a dead letter, without its bytes if too large."""
        DEAD_LETTERS.labels(type(batch).__name__).inc()
        letter = make_batch_letter(record.topic, record.partition, batch, self._stage.name)
        try:
            return await self.write([letter], record)
        except RecordRefusedError:
            return await self.write([replace(letter, value=None)], record)

    def _dead_letter(self, record: Incoming, error: Exception) -> Sequence[Effect]:
        return [dead_letter(record, error, self._stage.name)]

    async def write(self, effects: Sequence[Effect], record: Incoming | None = None) -> int:
        """Write effects, of a record or of housekeeping; return how many when acknowledged.

        Rows go to the partition of the record, and become visible when they are acknowledged.
        What stands before a `Flush` is acknowledged before what stands behind it is written.
        """
        written = 0
        for part in _parts([*effects, *self._limit.stops(effects, self._stage.name)]):
            started = now()
            places = await self._outbox.publish([self.to_write(each, record) for each in part])
            for effect, place in zip(part, places, strict=True):
                if isinstance(effect, TableWrite):
                    self._tables[effect.table].show(effect, place)
                elif effect.spans:
                    _record_sent(effect, place, started)
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
        if effect.reply_to in self._reply_topics:
            return Write(effect.reply_to, effect.key, effect.value, headers, fallback=name)
        return Write(name, effect.key, effect.value, headers)


def _record_sent(effect: Outgoing, place: RecordMetadata, started: int) -> None:
    recorder = Recording.recorder
    if recorder is not None:
        for span in effect.spans:
            recorder.record(sent(span, place.topic, place.partition, place.offset, started))


def _parts(effects: Sequence[Effect]) -> Iterator[list[Outgoing | TableWrite]]:
    part: list[Outgoing | TableWrite] = []
    for effect in effects:
        if isinstance(effect, Flush):
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
