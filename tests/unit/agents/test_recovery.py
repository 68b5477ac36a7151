from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agents.delay import DUE, TARGET
from agents.letters import EVENT_TOPICS, Event
from agents.recovery import Recovery, on_bug
from agents.recovery import stage as recovery_stage
from agents.resilience.policy import POLICIES
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.events import PendingLink, SelectedVideo, ValidatedVideo
from schemas.failure import Failure
from schemas.results import Cancelled, Expired, Failed, Rejected
from streams.records import Effect, Outgoing
from streams.settings import RetrySettings
from streams.topics import AUDIT, DELAYS, ERRORS
from tests.unit.agents.builders import (
    VIDEO,
    WRITTEN_AT,
    body_of,
    dead_letters,
    extracted,
    failure_record,
    header,
    make_attempt,
    make_context,
    make_failure,
    make_job,
    make_record,
    make_settings,
    member_job,
    only,
    outcome,
    outcomes,
    selected,
    transitions,
    validated,
)

NOW = WRITTEN_AT + timedelta(seconds=60)
EVENTS: list[Event] = [PendingLink(job=make_job()), validated(), extracted(), selected()]


async def run(failure: Failure, *, now: Any = NOW, chance: float = 0.0) -> list[Effect]:
    recovery = Recovery(RetrySettings(), chance=lambda: chance, clock=lambda: now)
    return list(await recovery.handle(failure_record(failure)))


def parked(effects: list[Effect]) -> Outgoing:
    (found,) = [each for each in effects if isinstance(each, Outgoing) and each.topic in DELAYS]
    return found


RETRIED = [code for code in ErrorCode if POLICIES[code].waits]
FINAL = [code for code in ErrorCode if not POLICIES[code].waits]


@pytest.mark.parametrize("code", RETRIED)
async def test_a_failure_that_may_pass_waits(code: ErrorCode) -> None:
    effects = await run(make_failure(code))
    sent = parked(effects)
    due = NOW + timedelta(seconds=POLICIES[code].waits[0])
    assert header(sent, DUE) == f"{due.timestamp():.3f}"
    assert header(sent, TARGET) == "videos.validated"
    event = body_of(sent, ValidatedVideo)
    (attempt,) = event.job.attempts
    assert (attempt.step, attempt.code, attempt.at) == ("extraction", code, WRITTEN_AT)
    assert attempt.counted is not POLICIES[code].repeat_last
    assert transitions(effects) == ["retrying"]
    assert len(effects) == 2
    assert not outcomes(effects)


@pytest.mark.parametrize("code", FINAL)
async def test_a_failure_that_stays_is_the_outcome(code: ErrorCode) -> None:
    effects = await run(make_failure(code, validated(attributes={"a": "b"})))
    found = outcome(effects)
    assert found.error.error_type is code
    assert (found.attempts, found.attributes) == (1, {"a": "b"})
    assert len(dead_letters(effects)) == POLICIES[code].keep


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.REQUEST_INVALID, Rejected),
        (ErrorCode.REQUEST_TOO_LARGE, Rejected),
        (ErrorCode.REQUEST_EXPIRED, Expired),
        (ErrorCode.REQUEST_CANCELLED, Cancelled),
        (ErrorCode.CONTENT_PRIVATE, Failed),
    ],
)
async def test_the_code_decides_the_kind_of_outcome(code: ErrorCode, kind: type[Any]) -> None:
    assert isinstance(outcome(await run(make_failure(code))), kind)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_every_event_goes_back_to_its_own_step(event: Event) -> None:
    sent = parked(await run(make_failure(ErrorCode.NETWORK_DNS, event)))
    topic, kind = EVENT_TOPICS[type(event)]
    assert header(sent, TARGET) == topic.name
    assert header(sent, "ce_type") == f"io.clipmill.{kind}"
    again = body_of(sent, type(event))
    assert msgspec.structs.replace(again, job=event.job) == event
    assert msgspec.structs.replace(again.job, attempts=()) == event.job


async def test_a_member_keeps_its_place() -> None:
    job = member_job(2, timings={"validation": 1.0}, attributes={"a": "b"})
    event = ValidatedVideo(job=job, video=VIDEO)
    again = body_of(parked(await run(make_failure(ErrorCode.NETWORK_DNS, event))), ValidatedVideo)
    assert msgspec.structs.replace(again.job, attempts=()) == job


@pytest.mark.parametrize(
    ("seconds", "topic"),
    [(0, "5s"), (5, "5s"), (5.1, "30s"), (31, "2m"), (121, "10m"), (601, "1h"), (20_000, "1h")],
)
async def test_the_delay_topic_fits_the_wait(seconds: float, topic: str) -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_API, retry_after_seconds=seconds)
    sent = parked(await run(failure))
    assert sent.topic.name == f"retry.{topic}"
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
async def test_jitter_comes_from_the_given_chance(chance: float, seconds: float) -> None:
    sent = parked(await run(make_failure(ErrorCode.NETWORK_DNS), chance=chance))
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize("event", EVENTS[1:], ids=lambda event: type(event).__name__)
async def test_a_dead_link_makes_the_page_be_read_anew(event: Event) -> None:
    failure = make_failure(ErrorCode.CONTENT_LINK_EXPIRED, event, step="download")
    sent = parked(await run(failure))
    assert header(sent, TARGET) == "videos.validated"
    again = body_of(sent, ValidatedVideo)
    assert again.job.options.refresh
    assert again.video == VIDEO
    assert header(sent, "ce_type") == "io.clipmill.video.validated.v1"
    assert sent.key == VIDEO.key.encode()


async def test_links_that_stay_dead_are_asked_for_three_times() -> None:
    event = selected(attempts=())
    seen = 0
    while True:
        failure = make_failure(ErrorCode.CONTENT_LINK_EXPIRED, event, step="download")
        effects = await run(failure)
        if outcomes(effects):
            break
        seen += 1
        job = body_of(parked(effects), ValidatedVideo).job
        event = selected(attempts=job.attempts)
    assert seen == 3
    assert outcome(effects).attempts == 4


async def test_an_outage_uses_up_no_retry() -> None:
    code = ErrorCode.PLATFORM_CHANGED
    event = validated(attempts=tuple(make_attempt(code, counted=False) for _ in range(20)))
    job = body_of(parked(await run(make_failure(code, event))), ValidatedVideo).job
    assert not any(attempt.counted for attempt in job.attempts)
    assert len(job.attempts) == 21


@pytest.mark.parametrize("code", [code for code in ErrorCode if POLICIES[code].keep])
async def test_what_an_operator_can_mend_is_kept(code: ErrorCode) -> None:
    attempts = tuple(make_attempt(code) for _ in POLICIES[code].waits)
    failure = make_failure(code, selected(attempts=attempts), step="extraction")
    effects = await run(failure)
    (kept,) = dead_letters(effects)
    assert kept.key == VIDEO.key.encode()
    assert body_of(kept, SelectedVideo) == selected(attempts=attempts)
    assert header(kept, "ce_type") == "io.clipmill.video.selected.v1"
    assert header(kept, "clipmill_code") == code
    assert header(kept, "clipmill_origin_topic") == "videos.selected"
    assert header(kept, "clipmill_step") == "extraction"
    assert header(kept, "clipmill_attempts") == str(len(attempts) + 1)
    found = outcome(effects)
    assert isinstance(found, Failed)
    assert (found.attempts, len(found.recovery)) == (len(attempts) + 1, len(attempts) + 1)


async def test_after_the_total_time_comes_the_end() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    effects = await run(make_failure(ErrorCode.PLATFORM_CHANGED), now=late)
    assert isinstance(outcome(effects), Failed)


async def test_the_step_that_failed_proposes_the_outcome() -> None:
    effects = await run(make_failure(ErrorCode.CONTENT_PRIVATE, step="download"))
    assert body_of(only(effects, AUDIT), AuditRecord).step == "download"
    assert outcome(effects).error.operation == "download"


async def test_copies_have_equal_ids_and_attempts_other_ones() -> None:
    failure = make_failure(ErrorCode.NETWORK_DNS)
    first = [header(each, "ce_id") for each in await run(failure)]
    copy = [header(each, "ce_id") for each in await run(failure, chance=1.0)]
    later = make_failure(ErrorCode.NETWORK_DNS, validated(attempts=(make_attempt(),)))
    second = [header(each, "ce_id") for each in await run(later)]
    assert first == copy
    assert not set(first) & set(second)


def changed(**fields: object) -> bytes:
    body = msgspec.json.decode(encode(make_failure(ErrorCode.NETWORK_DNS)), type=dict[str, Any])
    return msgspec.json.encode({**body, **fields})


UNREADABLE = {
    "no text": b"\xff",
    "empty": b"",
    "no failure": b"{}",
    "unknown kind": changed(event={"topic": "t", "kind": "x" * 5_000, "key": None, "body": {}}),
    "event of another kind": changed(
        event={"topic": "t", "kind": "video.selected.v1", "key": None, "body": {"job": 1}}
    ),
    "unknown code": changed(error={"operation": "o", "url": "u", "error_type": "x"}),
    "no value": None,
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_no_failure_ends_its_request(name: str) -> None:
    recovery = Recovery(RetrySettings())
    record = make_record(UNREADABLE[name], topic=ERRORS, headers=[("ce_correlationid", b"r1")])
    effects = await recovery.handle(record)
    assert [each.value for each in dead_letters(effects)] == [record.value]
    assert outcome(effects).request_id == "r1"
    assert len(effects) == 2


def test_a_bug_in_recovery_ends_the_request_and_keeps_the_event() -> None:
    record = failure_record(make_failure(ErrorCode.NETWORK_DNS, selected()))
    effects = on_bug(record, RuntimeError("oops"))
    assert outcome(effects).error.error_type is ErrorCode.INTERNAL_BUG
    (kept,) = dead_letters(effects)
    assert body_of(kept, SelectedVideo) == selected()


def test_a_bug_with_garbage_is_a_dead_letter() -> None:
    effects = on_bug(make_record(b"\xff", topic=ERRORS), RuntimeError("oops"))
    assert len(effects) == len(dead_letters(effects)) == 1


async def test_the_stage_uses_the_settings() -> None:
    context, _ = make_context(make_settings(retry=RetrySettings(total_seconds=1)))
    async with recovery_stage.open(context) as handle:
        effects = await handle(failure_record(make_failure(ErrorCode.NETWORK_DNS)))
    assert isinstance(outcome(effects), Failed)
