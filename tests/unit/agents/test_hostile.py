"""Hostile records at any stage: no handler raises, and none is dropped silently."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agents.delay
import agents.download.agent
import agents.extraction.agent
import agents.ledger.agent
import agents.recovery.agent
import agents.selection
import agents.validation.agent
from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import LoginSettings
from agents.caching.video_info import VideoInfoCache
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.page_reader import PageReader
from agents.extraction.videos import VideoWork
from agents.ledger.agent import Ledger
from agents.ledger.batches import Batches
from agents.pipeline.events import DUE, TARGET, audit, propose_result
from agents.pipeline.results import expired
from agents.pipeline.step import Complete, StepOutcome, step_handler
from agents.platforms.registry import Platforms
from agents.recovery.agent import Recovery
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.media_hosts import MediaHostRecorder
from agents.selection import Selection
from agents.validation.agent import Validation
from agents.validation.url_resolution import TargetFinder
from schemas.errors import ErrorCode
from schemas.events import ExtractedVideo, PendingLink, SelectedVideo, ValidatedVideo
from streams.cluster.shared_state import SharedState
from streams.media_host_waits import MediaHostWaits
from streams.records import Effect, Header, Incoming, Outgoing
from streams.stage import SlicingHandler, Stage, synchronous
from streams.topics import AUDIT, DEADLETTERS, DELAYS, REQUESTS, Topic
from tests.unit.agents.builders import (
    URL,
    FakeLinks,
    collect_effects,
    event_record,
    extracted,
    failure_record,
    make_failure,
    make_gate,
    make_job,
    make_record,
    make_settings,
    member_job,
    request,
    selected,
    validated,
)

pytestmark = pytest.mark.untraced

PLATFORMS = Platforms.load()


class DeadEngine:
    async def extract(self, job: EngineJob) -> EngineResult:
        raise EngineError(EngineFailure(types=("EngineCrash",), message=job.url))


async def download_work(event: SelectedVideo) -> StepOutcome:
    await asyncio.sleep(0)
    return Complete(expired(event.job, "download"))


def make_ledger() -> Ledger:
    batches = Batches(lambda _: None, open_seconds=60.0, remember_seconds=60.0)
    return Ledger(lambda _: None, batches, open_seconds=60.0, remember_seconds=60.0)


def make_recovery() -> Recovery:
    return Recovery(
        make_settings(),
        SharedState(),
        ErrorHandlers({}),
        uniform=lambda: 0.5,
        media_hosts=MediaHostRecorder(MediaHostWaits()),
    )


def make_extraction_work() -> VideoWork:
    cache = VideoInfoCache(lambda _: None, 60.0)
    reader = PageReader(
        PLATFORMS,
        DeadEngine(),
        gate=make_gate("extract"),
        authenticator=CookieFiles(LoginSettings()),
        deadline_seconds=1.0,
        waits=MediaHostWaits(),
    )
    return VideoWork(PLATFORMS, reader, cache)


def make_validation() -> Validation:
    return Validation(
        TargetFinder(PLATFORMS, {"direct": FakeLinks()}, make_gate("resolve")), SharedState()
    )


MAKERS: dict[str, tuple[Stage, Callable[[], SlicingHandler]]] = {
    "validation": (
        agents.validation.agent.stage,
        lambda: make_validation().handle,
    ),
    "extraction": (
        agents.extraction.agent.stage,
        lambda: step_handler(
            "extraction", ValidatedVideo, make_extraction_work().work, SharedState()
        ),
    ),
    "selection": (
        agents.selection.stage,
        lambda: step_handler("selection", ExtractedVideo, Selection(PLATFORMS).work, SharedState()),
    ),
    "download": (
        agents.download.agent.stage,
        lambda: step_handler("download", SelectedVideo, download_work, SharedState()),
    ),
    "recovery": (agents.recovery.agent.stage, lambda: make_recovery().handle),
    "delay": (agents.delay.stage, lambda: agents.delay.handle),
    "ledger": (
        agents.ledger.agent.stage,
        lambda: synchronous(make_ledger().handle),
    ),
}

HEADER_NAMES = [
    "ce_id",
    "ce_type",
    "ce_specversion",
    "ce_correlationid",
    "ce_expirytime",
    "content-type",
    "traceparent",
    DUE,
    TARGET,
    "other",
]
HEADER_VALUES = st.binary(max_size=50) | st.sampled_from(
    [
        b"1.0",
        b"application/cloudevents+json",
        b"application/cloudevents-batch+json",
        b"io.clipmill.link.pending.v1",
        b"2999-01-01T00:00:00Z",
        b"0001-01-01T00:00:00+23:59",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"r1",
        b"videos.validated",
        b"1767225660.000",
        b"nan",
    ]
)
HEADERS = st.lists(st.tuples(st.sampled_from(HEADER_NAMES), HEADER_VALUES), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
VALUES = st.none() | st.binary(max_size=200) | JSON.map(msgspec.json.encode)


def has_produced_records(effects: Sequence[Effect]) -> bool:
    return any(isinstance(each, Outgoing) for each in effects)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=80, deadline=None)
@given(
    value=VALUES,
    headers=HEADERS,
    key=st.none() | st.binary(max_size=20),
    timestamp=st.floats(),
)
async def test_arbitrary_bytes_yield_a_record_and_no_exception(
    name: str, value: bytes | None, headers: list[Header], key: bytes | None, timestamp: float
) -> None:
    stage, make = MAKERS[name]
    record = make_record(
        value, topic=stage.sources[0], key=key, headers=headers, timestamp=timestamp
    )
    assert has_produced_records(await collect_effects(await make()(record)))
    assert has_produced_records(stage.on_bug(record, RuntimeError("oops")))


# Almost valid messages

JOB = make_job(attributes={"a": "b"})
ALMOST_VALID: dict[str, list[Incoming]] = {
    "validation": [
        request({"id": "r1", "url": URL, "options": {"quality": "480p"}}),
        request({"id": "r1", "urls": [URL, URL]}),
        event_record(PendingLink(job=member_job())),
    ],
    "extraction": [event_record(validated())],
    "selection": [event_record(extracted())],
    "download": [event_record(selected())],
    "recovery": [
        failure_record(make_failure(ErrorCode.NETWORK_DNS, selected())),
        failure_record(make_failure(ErrorCode.SYSTEM_CONFIG, PendingLink(job=member_job()))),
    ],
    "ledger": [
        make_record(propose_result(JOB, "x", expired(JOB, "x"), None).value, topic=AUDIT),
        make_record(audit(JOB, "x", "accepted", None).value, topic=AUDIT),
    ],
}
ODD_VALUES = JSON | st.sampled_from(
    ["2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "", URL, 1e308, -1, 2**63, "r1/0", []]
)


def json_paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return every path in a JSON value, its root left out."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    found = []
    for name, inner in pairs:
        found += [(*above, name), *json_paths(inner, (*above, name))]
    return found


def with_value_at(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    """Return the value with another one at a path."""
    name, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[name] = with_value_at(value[name], tuple(rest), to) if rest else to
    return copy


@pytest.mark.parametrize("name", ALMOST_VALID)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
async def test_wrong_value_at_any_path_loses_no_request(name: str, data: st.DataObject) -> None:
    stage, make = MAKERS[name]
    record = data.draw(st.sampled_from(ALMOST_VALID[name]))
    body = msgspec.json.decode(record.value or b"")
    path = data.draw(st.sampled_from(json_paths(body)))
    headers = (*record.headers, ("ce_correlationid", b"r1"))
    value = msgspec.json.encode(with_value_at(body, path, data.draw(ODD_VALUES)))
    malformed = make_record(value, topic=stage.sources[0], headers=headers)
    effects = await effects_as_in_the_runner(stage, make(), malformed)
    assert has_produced_records(effects) or proposes_no_outcome(value)


async def effects_as_in_the_runner(
    stage: Stage, handle: SlicingHandler, record: Incoming
) -> Sequence[Effect]:
    try:
        return await collect_effects(await handle(record))
    except Exception as error:  # noqa: BLE001  (as the runner does)
        return stage.on_bug(record, error)


def proposes_no_outcome(value: bytes) -> bool:
    """Return whether it is an audit record without an outcome."""
    return b'"outcome":null' in value or (b'"transition"' in value and b'"outcome":{' not in value)


# Topics of the stages


def test_every_source_topic_is_consumed_by_one_stage() -> None:
    sources: list[Topic] = [topic for stage, _ in MAKERS.values() for topic in stage.sources]
    assert len(set(sources)) == len(sources)
    assert {REQUESTS, AUDIT, *DELAYS} <= set(sources)
    assert DEADLETTERS not in sources


def test_stages_have_the_names_of_their_keys() -> None:
    assert {name: stage.name for name, (stage, _) in MAKERS.items()} == {
        name: name for name in MAKERS
    }


def test_ordered_stages_are_extraction_download_and_ledger() -> None:
    ordered = {name for name, (stage, _) in MAKERS.items() if stage.ordered}
    assert ordered == {"extraction", "download", "ledger"}
    assert all(stage.ordered for stage, _ in MAKERS.values() if stage.tables)
