"""The record processor of a stage: runs the handler over records, at-least-once.

For each record: call the handler, write all effects, and only then report the record as finished;
records that need not wait are written in batches. A kill at any of these points leaves the record
uncommitted, so it is read again. An unexpected exception becomes the stage's bug report or a dead
letter, never a lost record. `streams.runtime.dispatcher` decides which record is next.
"""

import asyncio
import logging
import time
import traceback
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextvars import Context

import msgspec

from schemas.codec import MalformedMessageError
from schemas.errors import ClipmillError, ErrorCode
from streams.cluster.producer import RecordRefusedError, ReliableProducer
from streams.cluster.record_batches import UndecodableBatch
from streams.deadletters.headers import (
    make_batch_dead_letter,
    make_dead_letter,
    replays_of,
)
from streams.errors import StageFailedError
from streams.faust_driver.tables import StageTable
from streams.observability.logs import REQUEST, TRACE
from streams.observability.metrics import DEAD_LETTERS, REPLAYS, StageMetrics, start_at_zero
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.runtime import process_span
from streams.runtime.chaining import (
    ChainedEvent,
    ChainedStages,
    Processed,
    is_chainable,
)
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.effect_writer import EffectWriter
from streams.settings import DeadLetterSettings
from streams.stage import Slices, SlicingHandler, Stage, SyncFirstHandler, SyncHandler
from streams.topics import HEARTBEATS, Topic
from streams.tracing.scope import Scope, record_failure
from streams.tracing.spans import handed_over, now

log = logging.getLogger(__name__)

DEAD_LETTER_REASONS = tuple(
    each.__name__ for each in (MalformedMessageError, ClipmillError, UndecodableBatch)
)
"""Reasons of dead letters besides error codes; further ones are exception names of bugs."""

OnFinished = Callable[[Sequence[Incoming]], None]

NextSlice = Callable[[Incoming], Awaitable[None]]
"""Returns when the next slice of a record may be made, with a slot reserved for it."""

OnEffects = Callable[[Incoming, Sequence[Effect]], None]
"""Called with the effects of a record before they are written."""


async def _no_wait(_record: Incoming) -> None:
    """Do not wait: the default of `next_slice`."""


class RecordProcessor:
    """Runs a handler over records.

    Args:
        on_finished: called with records whose effects are all acknowledged, by their task.
        reply_topics: full names of the topics that may be published to instead of the record's.
        next_slice: awaited between the slices of a record.
        on_effects: called with the effects of a record before they are written.
        limit: number of dead letters of a stage that pauses its intake.
        chained_stages: the stages that may process events before they are written.
        on_chained: called with a record that has a task, and how many of its events of each topic
            chained stages have processed, when all effects are acknowledged.

    Attributes:
        writer: writes the effects.
    """

    def __init__(
        self,
        stage: Stage,
        handler: SlicingHandler,
        *,
        producer: ReliableProducer,
        tables: Mapping[str, StageTable],
        concurrency_limit: ConcurrencyLimit,
        topic_prefix: str,
        on_finished: OnFinished,
        reply_topics: Collection[str] = (),
        next_slice: NextSlice = _no_wait,
        on_effects: OnEffects = lambda _record, _effects: None,
        limit: DeadLetterSettings | None = None,
        chained_stages: ChainedStages | None = None,
        on_chained: Callable[[Incoming, Counter[Topic]], object] = lambda *_: None,
    ) -> None:
        self._stage = stage
        self._handler = handler
        self._sync = handler.sync if isinstance(handler, SyncFirstHandler) else None
        self._chained_stages = chained_stages or ChainedStages()
        self._on_chained = on_chained
        self.writer = EffectWriter(
            stage,
            producer=producer,
            tables=tables,
            topic_prefix=topic_prefix,
            reply_topics=reply_topics,
            limit=limit,
            chained_stages=self._chained_stages,
        )
        self._producer = producer
        self._concurrency_limit = concurrency_limit
        self._prefix = topic_prefix
        self._kafka_names = {each.name: each.kafka_name(topic_prefix) for each in stage.reads}
        self._on_finished = on_finished
        self._next_slice = next_slice
        self._on_effects = on_effects
        self._metrics = StageMetrics(stage.name)
        start_at_zero(REPLAYS, [stage.name])
        start_at_zero(DEAD_LETTERS, DEAD_LETTER_REASONS)

    async def run(self, record: Incoming) -> None:
        """Process one record. Raises only when cancelled, or when no report can be written."""
        if record.topic == HEARTBEATS.name:
            await self._process_heartbeat(record)
            return
        started = time.perf_counter()
        scope = self._open_scope(record)
        began = now()
        self._count_started(record)
        with self._metrics.in_progress.track_inprogress():
            written = await self._process(record)
        self._on_finished((record,))
        self._record_processing(record, scope, began)
        self._metrics.records_finished((started,), written)

    def run_sync(self, record: Incoming) -> Processed | None:
        """Process a record without waiting; None when it needs `run`. Its effects are not written.

        The handler also reads the pending rows: those of the records that are written with this
        one. A bug in it needs `run`, which reports it.
        """
        processed = self._run_in_context(record)
        if processed is not None:
            self._count_started(record)
        return processed

    def run_chained(self, event: Outgoing, record: Incoming) -> ChainedEvent | None:
        """Process an event of another stage before it is written; None when it has to be.

        ``record`` is its `chained_record`.
        """
        processed = self._run_in_context(record)
        if processed is None or not is_chainable(processed.effects, self.writer.targets):
            return None
        return ChainedEvent(event, processed, self._chained_written)

    def _run_in_context(self, record: Incoming) -> Processed | None:
        if (
            self._sync is None
            or record.topic == HEARTBEATS.name
            or isinstance(record.value, UndecodableBatch)
        ):
            return None
        context = Context()
        return context.run(self._run_sync, self._sync, record, context)

    def _run_sync(self, sync: SyncHandler, record: Incoming, context: Context) -> Processed | None:
        started = time.perf_counter()
        scope = self._open_scope(record)
        began = now()
        try:
            effects = self.writer.call_with_pending(sync, record)
            if effects is None:
                return None
            rows = [each for each in effects if isinstance(each, TableWrite)]
            chained = self._chained_stages.process(effects)
        except Exception:  # noqa: BLE001  (raised again, and reported, by the task of the record)
            return None
        return Processed(record, effects, scope, began, started, context, rows, chained)

    def _chained_written(self, chained: ChainedEvent) -> None:
        """Account for an event that this stage processed: its effects are acknowledged."""
        event, processed = chained.event, chained.processed
        self._count_started(processed.record)
        if processed.scope.recorder is not None:
            topic, partition = self._kafka_names[event.topic.name], processed.record.partition
            for span in event.spans:
                processed.scope.recorder.record(
                    handed_over(span, topic, partition, processed.began)
                )
            self._record_processing(processed.record, processed.scope, processed.began)
        self._metrics.records_finished([processed.started], len(processed.own))

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        """Write the effects of several records, and report these as finished.

        After an error, such as a refused record, each source record is written by itself. One that
        may have read a pending row is processed again: the result is the same, up to times in it.
        """
        self._metrics.in_progress.inc(len(batch))
        try:
            written = await self._write_together(batch)
            if written is None:
                written = 0
                has_rows = any(each.rows for each in batch)
                for each in batch:
                    work = self._write_alone(each, again=has_rows)
                    written += await asyncio.create_task(work, context=each.context)
        finally:
            self._metrics.in_progress.dec(len(batch))
        self._on_finished([each.record for each in batch])
        for each in batch:
            self._record_processing(each.record, each.scope, each.began)
        self._metrics.records_finished([each.started for each in batch], written)

    async def _write_together(self, batch: Sequence[Processed]) -> int | None:
        """Write the effects of records; return the number of their own, None after an error."""
        try:
            await self.writer.write([pair for each in batch for pair in each.written()])
        except StageFailedError:
            raise
        except Exception:  # noqa: BLE001  (reported for the record that it belongs to)
            return None
        for each in batch:
            if each.chained is not None:
                each.chained.on_written()
        return sum(len(each.own) for each in batch)

    async def _write_alone(self, processed: Processed, *, again: bool) -> int:
        """Write the effects of one record without chained stages, processed again if asked to."""
        record, effects = processed.record, processed.effects
        try:
            if again and self._sync is not None:
                found = self._sync(record)
                if found is None:
                    return await self._process(record)
                effects = found
            return await self.write(effects, record)
        except Exception as error:  # noqa: BLE001  (a bug becomes a record, never a lost one)
            return await self._report_bug(record, error)

    def _open_scope(self, record: Incoming) -> Scope:
        """Open the tracing scope of a record, and set the variables of its log lines."""
        REQUEST.set(record.header("ce_correlationid") or record.record_id)
        scope = process_span.begin(record, self._stage.name, self._due(record))
        TRACE.set(scope.origin.trace_id)
        return scope

    def _count_started(self, record: Incoming) -> None:
        self._metrics.records_in.inc()
        if replays_of(record):
            REPLAYS.labels(self._stage.name).inc()

    async def _process_heartbeat(self, record: Incoming) -> None:
        """Finish a heartbeat as soon as a slot is free and the cluster takes records."""
        async with self._concurrency_limit.acquire():
            pass
        await self._producer.available()
        self._on_finished((record,))
        # Clocks of two processes: the difference may be negative.
        self._metrics.heartbeat.observe(max(0.0, time.time() - record.timestamp))

    def _due(self, record: Incoming) -> float | None:
        return None if self._stage.due is None else self._stage.due(record, time.time())

    def _record_processing(self, record: Incoming, scope: Scope, began: int) -> None:
        if scope.recorder is None:
            return
        topic = self._kafka_names[record.topic]
        group = f"{self._prefix}{self._stage.name}"
        process_span.end(scope, record, topic, group, began)

    async def _process(self, record: Incoming) -> int:
        """Run the handler and write its effects; on an exception, write a bug report instead."""
        if isinstance(batch := record.value, UndecodableBatch):
            return await self._write_undecodable(record, batch)
        try:
            async with self._concurrency_limit.acquire():
                effects = await self._handler(record)
            if isinstance(effects, AsyncIterator):
                return await self._write_slices(effects, record)
            self._on_effects(record, effects)
            return await self._write_chained(effects, record)
        except Exception as error:  # noqa: BLE001  (a bug becomes a record, never a lost one)
            return await self._report_bug(record, error)

    async def _write_chained(self, effects: Sequence[Effect], record: Incoming) -> int:
        """Write effects, with those of the chained stages in the place of their events."""
        chained = self._chained_stages.process(effects)
        if chained is None:
            return await self.write(effects, record)
        own = [(effect, record) for effect in chained.own]
        try:
            await self.writer.write([*own, *chained.written()])
        except StageFailedError:
            raise
        except Exception:  # noqa: BLE001  (the chained stage reports it for its event)
            return await self.write(effects, record)
        self._on_chained(record, chained.topics())
        chained.on_written()
        return len(own)

    async def _write_slices(self, slices: Slices, record: Incoming) -> int:
        """Write one slice after the other, each with a slot of its own."""
        written = 0
        while True:
            async with self._concurrency_limit.acquire():
                effects = await anext(slices, None)
            if effects is None:
                return written
            self._on_effects(record, effects)
            written += await self.write(effects, record)
            await self._next_slice(record)

    async def _report_bug(self, record: Incoming, error: Exception) -> int:
        """Write the stage's own report; if that fails a dead letter, if that fails a stub of it."""
        if isinstance(error, StageFailedError):
            raise error
        self._metrics.bugs.inc()
        log.error("%s: bug at %s", self._stage.name, record.position, exc_info=error)
        record_failure(ErrorCode.INTERNAL_BUG, type(error).__name__)
        for report in (self._stage.on_bug, self._dead_letter):
            try:
                return await self.write(report(record, error), record)
            except StageFailedError:
                raise
            except Exception:
                log.exception(
                    "%s: no report of %s was published", self._stage.name, record.position
                )
        return await self.write([dead_letter(stub(record), error, self._stage.name)], record)

    async def _write_undecodable(self, record: Incoming, batch: UndecodableBatch) -> int:
        """Write an undecodable batch as a dead letter, without its bytes if it is too large."""
        DEAD_LETTERS.labels(type(batch).__name__).inc()
        dead_letter = make_batch_dead_letter(
            record.topic, record.partition, batch, self._stage.name
        )
        try:
            return await self.write([dead_letter], record)
        except RecordRefusedError:
            return await self.write([msgspec.structs.replace(dead_letter, value=None)], record)

    def _dead_letter(self, record: Incoming, error: Exception) -> Sequence[Effect]:
        return [dead_letter(record, error, self._stage.name)]

    async def write(self, effects: Sequence[Effect], record: Incoming | None = None) -> int:
        """Write effects of a record, or of housekeeping; return how many were acknowledged."""
        return await self.writer.write([(effect, record) for effect in effects])


def dead_letter(record: Incoming, error: Exception, step: str, *, request_id: str = "") -> Outgoing:
    """Return a dead letter for a record that cannot be processed."""
    DEAD_LETTERS.labels(type(error).__name__).inc()
    code = error.code if isinstance(error, ClipmillError) else ErrorCode.INTERNAL_BUG
    reason = "".join(traceback.format_exception_only(error))
    return make_dead_letter(record, step=step, code=code, reason=reason, request_id=request_id)


STUB_KEY_BYTES = 1_000
"""Bytes of the key that a stub keeps."""


def stub(record: Incoming) -> Incoming:
    """Return a record without its value and headers, for one whose dead letter is too large."""
    key = None if record.key is None else record.key[:STUB_KEY_BYTES]
    return msgspec.structs.replace(record, key=key, value=None, headers=())
