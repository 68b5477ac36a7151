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
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import Context

import msgspec
from aiokafka.structs import RecordMetadata

from schemas.codec import MalformedMessageError
from schemas.errors import ClipmillError, ErrorCode
from streams.cluster.producer import RecordRefusedError, ReliableProducer, Write
from streams.cluster.record_batches import UndecodableBatch
from streams.deadletters.headers import (
    make_batch_dead_letter,
    make_dead_letter,
    replays_of,
    with_origin_name,
)
from streams.deadletters.limit import DeadLetterLimit
from streams.errors import StageFailedError
from streams.faust_driver.tables import StageTable
from streams.observability.logs import REQUEST, TRACE
from streams.observability.metrics import DEAD_LETTERS, REPLAYS, StageMetrics, start_at_zero
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime import process_span
from streams.runtime.chaining import (
    UNWRITTEN,
    Chained,
    ChainedStages,
    Processed,
    is_chainable,
)
from streams.runtime.concurrency import ConcurrencyLimit
from streams.settings import DeadLetterSettings
from streams.stage import Slices, SlicingHandler, Stage, SyncFirstHandler, SyncHandler
from streams.topics import DEADLETTERS, HEARTBEATS, Topic
from streams.tracing.scope import Scope, record_failure
from streams.tracing.spans import Recorder, Recording, after_ack, handed_over, now

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


class UndeclaredTopicError(Exception):
    """A stage writes to a topic that it does not declare; its ACLs would not permit it."""


class RecordProcessor:
    """Runs a handler over records.

    Args:
        on_finished: called with records whose effects are all acknowledged, by their task.
        reply_topics: full names of the topics that may be published to instead of the record's.
        next_slice: awaited between the slices of a record.
        on_effects: called with the effects of a record before they are written.
        limit: number of dead letters of a step that pauses its intake.
        chained_stages: the stages that may process events before they are written.
        on_chained: called with the topic of each event of a record with a task that a chained stage
            has processed, when its effects are acknowledged.
    """

    def __init__(
        self,
        stage: Stage,
        handler: SlicingHandler,
        *,
        producer: ReliableProducer,
        tables: Mapping[str, StageTable],
        slots: ConcurrencyLimit,
        topic_prefix: str,
        on_finished: OnFinished,
        reply_topics: Collection[str] = (),
        next_slice: NextSlice = _no_wait,
        on_effects: OnEffects = lambda _record, _effects: None,
        limit: DeadLetterSettings | None = None,
        chained_stages: ChainedStages | None = None,
        on_chained: Callable[[Topic], object] = lambda _topic: None,
    ) -> None:
        self._stage = stage
        self._handler = handler
        self._sync = handler.sync if isinstance(handler, SyncFirstHandler) else None
        self.targets = {each: each.kafka_name(topic_prefix) for each in stage.produces}
        self._chained_stages = chained_stages or ChainedStages()
        self._on_chained = on_chained
        self._producer = producer
        self._tables = tables
        self._slots = slots
        self._prefix = topic_prefix
        self._kafka_names = {each.name: each.kafka_name(topic_prefix) for each in stage.reads}
        self._on_finished = on_finished
        self._reply_topics = frozenset(reply_topics)
        self._next_slice = next_slice
        self._on_effects = on_effects
        self._limit = DeadLetterLimit(limit or DeadLetterSettings())
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

        A bug in the handler needs `run`, which reports it.
        """
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
            effects = sync(record)
            if effects is None:
                return None
            rows = [each for each in effects if isinstance(each, TableWrite)]
            chain = self._chained_stages.process(effects)
        except Exception:  # noqa: BLE001  (raised again, and reported, by the task of the record)
            return None
        self._count_started(record)
        return Processed(record, effects, scope, began, started, context, rows, chain)

    def run_chained(self, event: Outgoing, partition: int) -> Chained | None:
        """Process an event of another stage before it is written; None when it has to be."""
        record = Incoming(
            event.topic.name,
            partition,
            UNWRITTEN,
            event.key,
            event.value,
            event.headers,
            time.time(),
        )
        processed = self.run_sync(record)
        if processed is None or not is_chainable(processed.effects):
            return None
        return Chained(event, processed, self._chained_written)

    def _chained_written(self, chained: Chained) -> None:
        """Account for an event that this stage processed: its effects are acknowledged."""
        event, processed = chained.event, chained.processed
        if processed.scope.recorder is not None:
            topic, partition = self._kafka_names[event.topic.name], processed.record.partition
            for span in event.spans:
                processed.scope.recorder.record(
                    handed_over(span, topic, partition, processed.began)
                )
            self._record_processing(processed.record, processed.scope, processed.began)
        self._metrics.records_finished([processed.started], len(processed.effects))

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        """Write the effects of several records, and report these as finished.

        After an error, such as a refused record, each source record is processed again by itself:
        the effects of one may depend on rows of those before it. Copies of what was written are
        identical.
        """
        self._metrics.in_progress.inc(len(batch))
        try:
            try:
                written = await self._write(
                    [(effect, each.record) for each in batch for effect in each.written]
                )
                written -= _account_for_chains(batch)
            except StageFailedError:
                raise
            except Exception:  # noqa: BLE001  (reported for the record that it belongs to)
                written = 0
                for each in batch:
                    again = asyncio.create_task(self._process(each.record), context=each.context)
                    written += await again
        finally:
            self._metrics.in_progress.dec(len(batch))
        self._on_finished([each.record for each in batch])
        for each in batch:
            self._record_processing(each.record, each.scope, each.began)
        self._metrics.records_finished([each.started for each in batch], written)

    def stage(self, processed: Processed) -> None:
        """Make the rows of a processed record visible to those that are written with it."""
        for row in processed.rows:
            self._tables[row.table].stage(row)

    def unstage(self) -> None:
        """Hide the staged rows."""
        for table in self._tables.values():
            table.unstage()

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
        async with self._slots.acquire():
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
            async with self._slots.acquire():
                effects = await self._handler(record)
            if isinstance(effects, AsyncIterator):
                return await self._write_slices(effects, record)
            self._on_effects(record, effects)
            return await self._write_chained(effects, record)
        except Exception as error:  # noqa: BLE001  (a bug becomes a record, never a lost one)
            return await self._report_bug(record, error)

    async def _write_chained(self, effects: Sequence[Effect], record: Incoming) -> int:
        """Write effects, with those of the chained stages in the place of their events."""
        chain = self._chained_stages.process(effects)
        if chain is None:
            return await self.write(effects, record)
        try:
            written = await self.write(chain.effects, record)
        except StageFailedError:
            raise
        except Exception:  # noqa: BLE001  (the chained stage reports it for its event)
            return await self.write(effects, record)
        for topic in chain.topics():
            self._on_chained(topic)
        return written - chain.account()

    async def _write_slices(self, slices: Slices, record: Incoming) -> int:
        """Write one slice after the other, each with a slot of its own."""
        written = 0
        while True:
            async with self._slots.acquire():
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
        """Write effects, of a record or of housekeeping; return how many were acknowledged.

        Rows go to the partition of the record, and are visible once they are acknowledged; to the
        records of a batch they are before (`stage`). All effects before a `Flush` are acknowledged
        before the effects behind it are sent.
        """
        return await self._write([(effect, record) for effect in effects])

    async def _write(self, effects: Sequence[tuple[Effect, Incoming | None]]) -> int:
        """Write effects, each with the record that caused it."""
        signals = self._limit.pause_signals([effect for effect, _ in effects], self._stage.name)
        written = 0
        for each in _split_at_flushes([*effects, *((signal, None) for signal in signals)]):
            part = _without_replaced_rows(each)
            started = now()
            try:
                acknowledged = await self._producer.publish([self.to_write(*one) for one in part])
            except RecordRefusedError as refused:
                # They are written again; rows in the changelog that were not applied leave a gap.
                self._apply_rows(part, refused.acknowledged)
                raise
            self._apply_rows(part, acknowledged)
            if Recording.recorder is not None:
                _record_sent(part, acknowledged, Recording.recorder, started)
            written += len(part)
        return written

    def _apply_rows(
        self,
        effects: Sequence[tuple[Effect, Incoming | None]],
        acknowledged: Sequence[RecordMetadata | None],
    ) -> None:
        for (effect, _), metadata in zip(effects, acknowledged, strict=False):
            if isinstance(effect, TableWrite) and metadata is not None:
                self._tables[effect.table].apply(effect, metadata)

    def to_write(self, effect: Outgoing | TableWrite, record: Incoming | None = None) -> Write:
        """Return the Kafka record of an effect.

        Raises:
            UndeclaredTopicError: `Stage.writes` lacks its topic.
        """
        if isinstance(effect, TableWrite):
            partition = record.partition if record else None
            return self._tables[effect.table].changelog_record(effect, partition)
        name = self.targets.get(effect.topic) or self._chained_stages.kafka_name(effect.topic)
        if name is None:
            raise UndeclaredTopicError(
                f"{effect.topic.name} is not among the writes of the stage {self._stage.name}"
            )
        headers = effect.headers
        if effect.topic is DEADLETTERS:
            headers = with_origin_name(effect, self._prefix)
        if effect.reply_to in self._reply_topics:
            return Write(effect.reply_to, effect.key, effect.value, headers, fallback=name)
        return Write(name, effect.key, effect.value, headers)


def _account_for_chains(batch: Sequence[Processed]) -> int:
    """Account for the chained events of records that are written; return their effects."""
    return sum(each.chain.account() for each in batch if each.chain is not None)


def _record_sent(
    effects: Sequence[tuple[Effect, Incoming | None]],
    acknowledged: Sequence[RecordMetadata],
    recorder: Recorder,
    started: int,
) -> None:
    for (effect, _), metadata in zip(effects, acknowledged, strict=True):
        for span in effect.spans if isinstance(effect, Outgoing) else ():
            recorder.record(
                after_ack(span, metadata.topic, metadata.partition, metadata.offset, started)
            )


def _split_at_flushes(
    effects: Iterable[tuple[Effect, Incoming | None]],
) -> Iterator[list[tuple[Outgoing | TableWrite, Incoming | None]]]:
    part: list[tuple[Outgoing | TableWrite, Incoming | None]] = []
    for effect, record in effects:
        if isinstance(effect, Flush):
            yield part
            part = []
        else:
            part.append((effect, record))
    yield part


def _without_replaced_rows(
    effects: list[tuple[Outgoing | TableWrite, Incoming | None]],
) -> list[tuple[Outgoing | TableWrite, Incoming | None]]:
    """Return effects without the rows that a later one of the same key replaces."""
    latest: dict[tuple[str, str, int | None], int] = {}
    rows = 0
    for number, (effect, record) in enumerate(effects):
        if isinstance(effect, TableWrite):
            partition = record.partition if record else None
            latest[effect.table, effect.key, partition] = number
            rows += 1
    if len(latest) == rows:
        return effects
    kept = set(latest.values())
    return [
        each
        for number, each in enumerate(effects)
        if number in kept or not isinstance(each[0], TableWrite)
    ]


def dead_letter(record: Incoming, error: Exception, step: str, *, request_id: str = "") -> Outgoing:
    """Return a dead letter for a record that cannot be processed."""
    DEAD_LETTERS.labels(type(error).__name__).inc()
    code = error.code if isinstance(error, ClipmillError) else ErrorCode.INTERNAL_BUG
    reason = "".join(traceback.format_exception_only(error))
    return make_dead_letter(record, step=step, code=code, reason=reason, request_id=request_id)


STUB_KEY_BYTES = 1_000
"""Bytes of the key that a stub keeps."""


def stub(record: Incoming) -> Incoming:
    """Return a record too large even for the dead letters without its value and headers."""
    key = None if record.key is None else record.key[:STUB_KEY_BYTES]
    return msgspec.structs.replace(record, key=key, value=None, headers=())
