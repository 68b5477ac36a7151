"""Writes the effects of a stage: records to their topics, rows to the changelogs of its tables."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from aiokafka.structs import RecordMetadata

from streams.cluster.producer import RecordRefusedError, ReliableProducer, Write
from streams.deadletters.headers import with_origin_name
from streams.deadletters.limit import DeadLetterLimit
from streams.faust_driver.tables import StageTable
from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.runtime.chaining import UNWRITTEN, ChainedStages
from streams.settings import DeadLetterSettings
from streams.stage import Stage, SyncHandler
from streams.topics import DEADLETTERS
from streams.tracing.spans import Recorder, Recording, after_ack, now

Caused = tuple[Effect, Incoming | None]
"""An effect, and the record that caused it; None for housekeeping."""

CausedWrite = tuple[Outgoing | TableWrite, Incoming | None]


class UndeclaredTopicError(Exception):
    """A stage writes to a topic that it does not declare; its ACLs would not permit it."""


class EffectWriter:
    """The writer of one stage.

    Args:
        reply_topics: full names of the topics that may be published to instead of the record's.
        limit: number of dead letters of a step that pauses its intake.
        chained_stages: the stages whose effects are written for records of this one.

    Attributes:
        targets: names on Kafka of the topics that the stage writes.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        producer: ReliableProducer,
        tables: Mapping[str, StageTable],
        topic_prefix: str,
        reply_topics: Collection[str] = (),
        limit: DeadLetterSettings | None = None,
        chained_stages: ChainedStages,
    ) -> None:
        self._stage = stage.name
        self._producer = producer
        self._tables = tables
        self._prefix = topic_prefix
        self._reply_topics = frozenset(reply_topics)
        self._limit = DeadLetterLimit(limit or DeadLetterSettings())
        self._chained_stages = chained_stages
        self.targets = {each: each.kafka_name(topic_prefix) for each in stage.produces}

    # Pending rows

    def add_pending(self, rows: Sequence[TableWrite]) -> None:
        """Let the records that are written together with these rows read them."""
        for row in rows:
            self._tables[row.table].add_pending(row)

    def clear_pending(self) -> None:
        for table in self._tables.values():
            table.clear_pending()

    def call_with_pending(self, sync: SyncHandler, record: Incoming) -> Sequence[Effect] | None:
        """Call a handler, which reads pending rows too."""
        for table in self._tables.values():
            table.reads_pending = True
        try:
            return sync(record)
        finally:
            for table in self._tables.values():
                table.reads_pending = False

    # Writing

    async def write(self, effects: Sequence[Caused]) -> int:
        """Write effects; return how many were acknowledged.

        Rows go to the partition of the record, and are visible to all once they are acknowledged.
        All effects before a `Flush` are acknowledged before the effects behind it are sent.

        Raises:
            RecordRefusedError: the cluster refuses one of them; others may be written.
            UndeclaredTopicError: `Stage.writes` lacks the topic of one; none is written.
        """
        signals = self._limit.pause_signals([effect for effect, _ in effects], self._stage)
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
        self, effects: Sequence[CausedWrite], acknowledged: Sequence[RecordMetadata | None]
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
        is_chained = record is not None and record.offset == UNWRITTEN
        targets = self._chained_stages.targets_of(record) if is_chained and record else self.targets
        name = targets.get(effect.topic)
        if name is None:
            raise UndeclaredTopicError(
                f"{effect.topic.name} is not among the writes of the stage {self._stage}"
            )
        headers = effect.headers
        if effect.topic is DEADLETTERS:
            headers = with_origin_name(effect, self._prefix)
        if effect.reply_to in self._reply_topics:
            return Write(effect.reply_to, effect.key, effect.value, headers, fallback=name)
        return Write(name, effect.key, effect.value, headers)


def _record_sent(
    effects: Sequence[CausedWrite],
    acknowledged: Sequence[RecordMetadata],
    recorder: Recorder,
    started: int,
) -> None:
    for (effect, _), metadata in zip(effects, acknowledged, strict=True):
        for span in effect.spans if isinstance(effect, Outgoing) else ():
            recorder.record(
                after_ack(span, metadata.topic, metadata.partition, metadata.offset, started)
            )


def _split_at_flushes(effects: Iterable[Caused]) -> Iterator[list[CausedWrite]]:
    part: list[CausedWrite] = []
    for effect, record in effects:
        if isinstance(effect, Flush):
            yield part
            part = []
        else:
            part.append((effect, record))
    yield part


def _without_replaced_rows(effects: list[CausedWrite]) -> list[CausedWrite]:
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
