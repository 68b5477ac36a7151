"""Records, events and test doubles for the tests of agents; no broker, no network."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from faust.types import TP

from agents.access.gate import OutboundGate
from agents.pipeline.events import EVENT_TOPICS, Event, event_key
from agents.platforms.interface import Platform, ShortLink
from schemas.attempts import Operation
from schemas.audit import AuditRecord
from schemas.codec import decode, encode
from schemas.errors import ErrorCode, ErrorContext
from schemas.events import (
    ExtractedVideo,
    FailedRecord,
    Failure,
    PendingLink,
    SelectedVideo,
    ValidatedVideo,
)
from schemas.job import Attempt, BatchMember, Job
from schemas.request import Options
from schemas.results import Result
from schemas.video import (
    EngineVersions,
    Extraction,
    SelectedSource,
    VideoFormat,
    VideoInfo,
    VideoRef,
)
from streams.cluster.shared_state import SharedState
from streams.envelope import TYPE_PREFIX
from streams.faust_driver.tables import IndexedStageTable, StageTable
from streams.intake import Intake
from streams.records import Effect, Header, Incoming, Outgoing, TableWrite
from streams.settings import Settings
from streams.stage import Handler, Slices, Stage, StageContext, Table
from streams.state_stores import InMemoryStore, RowFields
from streams.topics import AUDIT, DEADLETTERS, ERRORS, REQUESTS, Topic
from tests.state_stores import IndexedInMemoryStore
from tests.unit.agents.platforms.tiktok.extractions import extraction_of, raw_of, video_of

T = TypeVar("T")

VIDEO: VideoRef = video_of()
URL = VIDEO.url
SHORT_URL = "https://vm.tiktok.com/ZMabc123/"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"

WRITTEN = 1_767_225_600.0
"""Default timestamp of records: 2026-01-01, in the past of every test."""

WRITTEN_AT = datetime.fromtimestamp(WRITTEN, UTC)
PAST = datetime(2026, 1, 2, tzinfo=UTC)
FUTURE = datetime(2999, 1, 1, tzinfo=UTC)

FORMAT = VideoFormat(
    format_id="bytevc1_720p",
    container="mp4",
    video_codec="h265",
    audio_codec="aac",
    width=720,
    height=1280,
    bytes=1_000,
)
SOURCE = SelectedSource(format=FORMAT, url="https://v16.tiktokcdn.com/abc/video.mp4?sig=s3cret")
ENGINE = EngineVersions(yt_dlp="2026.10.26", curl_cffi="0.16.3")
INFO = VideoInfo(platform="tiktok", id=VIDEO.id, url=VIDEO.url, title="Cats", duration_seconds=12.5)


class Clock:
    """A fake clock that only a test advances."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


# Jobs and events


def make_job(**changes: Any) -> Job:
    defaults = Job(
        request_id="r1",
        url=URL,
        action="download",
        options=Options(),
        received_at=WRITTEN_AT,
        trace_id=TRACE_ID,
    )
    return msgspec.structs.replace(defaults, **changes)


def member_job(index: int = 1, size: int = 3, **changes: Any) -> Job:
    batch = BatchMember(id="b1", index=index, size=size)
    return make_job(**{"request_id": f"b1/{index}", "batch": batch, **changes})


def make_attempt(
    code: ErrorCode = ErrorCode.NETWORK_TIMEOUT, step: str = "extraction", counted: bool = True
) -> Attempt:
    return Attempt(step=step, code=code, at=WRITTEN_AT, counted=counted)


@cache
def make_extraction(scenario: str = "ok") -> Extraction:
    return extraction_of(raw_of(scenario))


def validated(**changes: Any) -> ValidatedVideo:
    return ValidatedVideo(job=make_job(**changes), video=VIDEO)


def extracted(extraction: Extraction | None = None, **changes: Any) -> ExtractedVideo:
    return ExtractedVideo(
        job=make_job(**changes),
        video=VIDEO,
        extraction=extraction or make_extraction(),
        cache="miss",
    )


def selected(source: SelectedSource = SOURCE, **changes: Any) -> SelectedVideo:
    return SelectedVideo(
        job=make_job(**changes),
        video=VIDEO,
        info=INFO,
        sources=(source,),
        cache="miss",
        engine=ENGINE,
    )


def make_failure(
    code: ErrorCode,
    event: Event | None = None,
    *,
    step: str = "extraction",
    retry_after_seconds: float | None = None,
    **changes: Any,
) -> Failure:
    event = event or validated()
    record = event_record(event)
    return Failure(
        job=event.job,
        step=step,
        error=ErrorContext(operation=step, url=URL, error_type=code, user_message="It failed."),
        failed_at=WRITTEN_AT,
        record=FailedRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            key=record.key,
            value=record.value or b"",
            headers=record.headers,
        ),
        retry_after_seconds=retry_after_seconds,
        **changes,
    )


# Records


def make_record(
    value: bytes | None,
    *,
    topic: Topic = REQUESTS,
    key: bytes | None = b"k",
    headers: Sequence[Header] = (),
    offset: int = 7,
    timestamp: float = WRITTEN,
) -> Incoming:
    return Incoming(topic.name, 0, offset, key, value, tuple(headers), timestamp)


def request(body: Mapping[str, Any], **changes: Any) -> Incoming:
    """A request as plain JSON."""
    return make_record(msgspec.json.encode(body), **changes)


def event_record(event: Event, *headers: Header, **changes: Any) -> Incoming:
    """An event as the next stage consumes it."""
    topic, kind = EVENT_TOPICS[type(event)]
    fields = {
        "ce_id": f"{event.job.request_id}:{kind}:1",
        "ce_type": f"{TYPE_PREFIX}{kind}",
        "ce_correlationid": event.job.request_id,
        "traceparent": f"00-{event.job.trace_id}-b7ad6b7169203331-01",
    }
    sealed = tuple((name, text.encode()) for name, text in fields.items())
    return make_record(
        encode(event),
        topic=topic,
        key=event_key(event).encode(),
        headers=(*sealed, *headers),
        **changes,
    )


def failure_record(failure: Failure, **changes: Any) -> Incoming:
    headers = ((("ce_id", b"failure-1")), ("ce_correlationid", failure.job.request_id.encode()))
    return make_record(encode(failure), topic=ERRORS, headers=headers, **changes)


def as_incoming(effect: Effect, *, offset: int = 0, timestamp: float = WRITTEN) -> Incoming:
    """Return a produced record as the next stage consumes it."""
    assert isinstance(effect, Outgoing)
    return Incoming(
        effect.topic.name, 0, offset, effect.key, effect.value, effect.headers, timestamp
    )


# Effects


def header(effect: Effect | Incoming, name: str) -> str | None:
    record = effect if isinstance(effect, Incoming) else as_incoming(effect)
    return record.header(name)


async def collect_effects(answer: Sequence[Effect] | Slices) -> list[Effect]:
    """Return all effects of a handler, the slices of a large record together."""
    if isinstance(answer, AsyncIterator):
        return [effect async for slice_ in answer for effect in slice_]
    return list(answer)


@asynccontextmanager
async def opened_stage(stage: Stage, context: StageContext) -> AsyncIterator[Handler]:
    """Open a stage with a handler that returns all slices together."""
    async with stage.open(context) as handler:

        async def handle(record: Incoming) -> Sequence[Effect]:
            return await collect_effects(await handler(record))

        yield handle


def sent_to(effects: Sequence[Effect], topic: Topic) -> list[Outgoing]:
    return [each for each in effects if isinstance(each, Outgoing) and each.topic is topic]


def only_record(effects: Sequence[Effect], topic: Topic) -> Outgoing:
    (found,) = sent_to(effects, topic)
    return found


def body_of(effect: Effect, kind: type[T]) -> T:
    assert isinstance(effect, Outgoing)
    assert effect.value is not None
    return decode(effect.value, kind)


def writes(effects: Sequence[Effect]) -> list[TableWrite]:
    return [each for each in effects if isinstance(each, TableWrite)]


def transitions(effects: Sequence[Effect]) -> list[str]:
    return [body_of(each, AuditRecord).transition for each in sent_to(effects, AUDIT)]


def outcomes(effects: Sequence[Effect]) -> list[Any]:
    """Return the outcomes proposed to the ledger, decoded as clients decode them."""
    proposed = [body_of(each, _Proposal).outcome for each in sent_to(effects, AUDIT)]
    return [each for each in proposed if each is not None]


class _Proposal(msgspec.Struct, frozen=True):
    outcome: Result | None = None


def outcome(effects: Sequence[Effect]) -> Any:
    (found,) = outcomes(effects)
    return found


def failure(effects: Sequence[Effect]) -> Failure:
    return body_of(only_record(effects, ERRORS), Failure)


def pending_link(effects: Sequence[Effect]) -> PendingLink:
    return decode(failure(effects).record.value, PendingLink)


def dead_letters(effects: Sequence[Effect]) -> list[Outgoing]:
    return sent_to(effects, DEADLETTERS)


def largest_record_bytes(effects: Sequence[Effect]) -> int:
    """Return the bytes of the largest record, headers included."""
    return max(
        len(each.value or b"") + len(each.key or b"") + sum(len(value) for _, value in each.headers)
        for each in effects
        if isinstance(each, Outgoing)
    )


# Test doubles and contexts


class FakeLinks:
    """Resolves every short link to the same video, or raises."""

    def __init__(self, found: VideoRef | Exception = VIDEO) -> None:
        self.found = found
        self.resolved_urls: list[str] = []

    def cached(self, link: ShortLink) -> VideoRef | None:
        assert link.url
        return None

    async def resolve(self, link: ShortLink, platform: Platform) -> VideoRef:
        assert platform.get_capabilities().name == "tiktok"
        self.resolved_urls.append(link.url)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class _FaustTable:
    def __init__(self, **_: Any) -> None:
        self.data = SimpleNamespace(data={}, _key_partition={})
        self.changelog_topic = SimpleNamespace(get_topic_name=lambda: "changelog")


class _FaustApp:
    """Faust app that owns the one changelog partition of its tables."""

    def __init__(self) -> None:
        recovery = SimpleNamespace(
            assigned={TP("changelog", 0)}, read_offsets={}, extend=lambda *_: None
        )
        self.tables = SimpleNamespace(recovery=recovery, stores={})

    def Table(self, name: str, **options: Any) -> _FaustTable:  # noqa: N802  (Faust's name)
        return _FaustTable(name=name, **options)


def table_of(context: StageContext, name: str) -> StageTable:
    """A table of a context as the runtime sees it, with its writes."""
    found = context.tables[name]
    assert isinstance(found, StageTable)
    return found


def make_faust_app() -> Any:
    return _FaustApp()


def make_table(name: str) -> StageTable:
    return StageTable(_FaustApp(), name, 4, InMemoryStore())


def make_indexed_table(name: str, index: RowFields) -> IndexedStageTable:
    return IndexedStageTable(_FaustApp(), name, 4, IndexedInMemoryStore(index))


ACKNOWLEDGEMENT = RecordMetadata(
    "changelog", 0, TopicPartition("changelog", 0), 0, None, None, None
)


def apply_writes(table: Table, effects: Sequence[Effect]) -> None:
    """Apply acknowledged table writes, as the runner does."""
    assert isinstance(table, StageTable)
    for write in writes(effects):
        if write.table == table.name:
            table.apply(write, ACKNOWLEDGEMENT)


def make_settings(**changes: Any) -> Settings:
    return Settings(**changes)


def make_context(
    settings: Settings, *tables: str, indexes: Mapping[str, RowFields] | None = None
) -> tuple[StageContext, list[Outgoing]]:
    """Return the context of a stage, and the list of records published on best effort."""
    best_effort_records: list[Outgoing] = []
    indexed = {name: make_indexed_table(name, index) for name, index in (indexes or {}).items()}
    named: dict[str, Table] = {name: make_table(name) for name in tables}
    context = StageContext(
        settings=settings,
        tables={**named, **indexed},
        indexed_tables=indexed,
        publish_best_effort=best_effort_records.append,
        shared_state=SharedState(),
        intake=Intake("toy"),
    )
    return context, best_effort_records


def make_gate(operation: Operation, context: StageContext | None = None) -> OutboundGate:
    """A gate with one egress, ``direct``, and a short timeout of trial requests."""
    stage_context = context or make_context(make_settings())[0]
    step = {"resolve": "validation", "extract": "extraction"}.get(operation, operation)
    return OutboundGate(operation, ("direct",), stage_context, step=step, grant_seconds=0.02)


def seconds_from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
