from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.pipeline.events import DUE, EVENT_TOPICS, TARGET, Event
from agents.recovery.agent import ATTEMPT_LABELS, STEPS, Recovery, on_bug
from agents.recovery.agent import stage as recovery_stage
from agents.recovery.decisions import Backoff, Decision, Fail, Park
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.media_hosts import MediaHostRecorder
from agents.recovery.retry_policy import POLICIES
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.events import FailedRecord, Failure, PendingLink, SelectedVideo, ValidatedVideo
from schemas.job import Attempt, Parking
from schemas.results import Cancelled, Expired, Failed, Rejected
from schemas.signals import BreakerState
from streams.cluster.shared_state import SharedState
from streams.media_host_waits import MediaHostWaits
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Outgoing
from streams.settings import AuthSettings, EgressSettings, RetrySettings, Settings
from streams.topics import AUDIT, DELAYS, ERRORS, REQUESTS, VALIDATED
from tests.unit.agents.builders import (
    ENGINE,
    FORMAT,
    INFO,
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
    only_record,
    opened_stage,
    outcome,
    outcomes,
    selected,
    transitions,
    validated,
)

NOW = WRITTEN_AT + timedelta(seconds=60)
EVENTS: list[Event] = [PendingLink(job=make_job()), validated(), extracted(), selected()]


ONE_EGRESS = make_settings(egress=EgressSettings(proxies={"a": "http://a.test"}))
TWO_EGRESSES = make_settings(
    egress=EgressSettings(proxies={"a": "http://a.test", "b": "http://b.test"})
)
OPEN = BreakerState(
    platform="tiktok",
    operation="extract",
    egress="a",
    state="open",
    since=NOW,
    until=NOW + timedelta(seconds=42),
)
EXTRACT_ENDPOINT: dict[str, Any] = {"platform": "tiktok", "operation": "extract", "egress": "a"}


def recovery_of(
    settings: Settings | None = None,
    *breakers: BreakerState,
    handlers: ErrorHandlers | None = None,
    accounts: tuple[str, ...] = (),
    now: datetime = NOW,
    uniform: float = 0.0,
) -> Recovery:
    shared_state = SharedState(clock=lambda: 0.0)
    for each in breakers:
        shared_state.put(f"breaker/{each.name}", encode(each))
    return Recovery(
        settings or make_settings(),
        shared_state,
        handlers or ErrorHandlers({}),
        accounts=lambda platform: accounts if platform == "tiktok" else (),
        uniform=lambda: uniform,
        clock=lambda: now,
        media_hosts=MediaHostRecorder(MediaHostWaits()),
    )


async def effects_of(
    failure: Failure,
    settings: Settings | None = None,
    *breakers: BreakerState,
    **changes: Any,
) -> list[Effect]:
    recovery = recovery_of(settings, *breakers, **changes)
    return list(await recovery.handle(failure_record(failure)))


def delayed_record(effects: list[Effect]) -> Outgoing:
    (found,) = [each for each in effects if isinstance(each, Outgoing) and each.topic in DELAYS]
    return found


def audit_detail(effects: list[Effect]) -> dict[str, str]:
    return body_of(only_record(effects, AUDIT), AuditRecord).detail


RETRIED = [code for code in ErrorCode if POLICIES[code].waits and not POLICIES[code].outage]
OUTAGES = [code for code in ErrorCode if POLICIES[code].outage]
PAGE_REREAD = [code for code in ErrorCode if "fresh_extraction" in POLICIES[code].immediate]
FINAL = [code for code in ErrorCode if not POLICIES[code].waits and code not in PAGE_REREAD]


def retry_count(step: str, attempt: str) -> float:
    labels = {"step": step, "attempt": attempt}
    return REGISTRY.get_sample_value("clipmill_retry_attempts_total", labels) or 0.0


@pytest.mark.parametrize(
    ("before", "label"),
    [
        pytest.param((), "1", id="the first"),
        pytest.param((make_attempt(),), "2", id="the second"),
        pytest.param((make_attempt(step="download"),) * 3, "1", id="attempts of another step"),
        pytest.param((make_attempt(counted=False),) * 3, "1", id="uncounted attempts"),
        pytest.param((make_attempt(),) * 5, "more", id="the sixth"),
        pytest.param((make_attempt(),) * 500, "more", id="far beyond the labels"),
    ],
)
async def test_retry_is_counted_under_its_attempt_number(
    before: tuple[Attempt, ...], label: str
) -> None:
    handler = FixedHandler(Backoff(due=NOW + timedelta(seconds=20)))
    failure = make_failure(ErrorCode.NETWORK_DNS, validated(attempts=before))
    count = retry_count("extraction", label)
    await effects_of(failure, handlers=ErrorHandlers({"mine": handler}))
    assert retry_count("extraction", label) == count + 1


@pytest.mark.parametrize(
    ("decision", "step"),
    [
        (Park(due=NOW + timedelta(seconds=20), code=ErrorCode.NETWORK_DNS), "extraction"),
        (Fail(), "extraction"),
        (Backoff(due=NOW + timedelta(seconds=20)), "a step of another's record"),
    ],
)
async def test_other_decisions_are_not_counted_as_retries(decision: Decision, step: str) -> None:
    before = sum(retry_count(name, label) for name in (*STEPS, step) for label in ATTEMPT_LABELS)
    failure = make_failure(ErrorCode.NETWORK_DNS, step=step)
    await effects_of(failure, handlers=ErrorHandlers({"mine": FixedHandler(decision)}))
    after = sum(retry_count(name, label) for name in (*STEPS, step) for label in ATTEMPT_LABELS)
    assert after == before


@pytest.mark.parametrize("code", RETRIED)
async def test_retryable_failure_is_delayed_by_its_first_backoff(code: ErrorCode) -> None:
    effects = await effects_of(make_failure(code))
    sent = delayed_record(effects)
    due = NOW + timedelta(seconds=POLICIES[code].waits[0])
    assert header(sent, DUE) == f"{due.timestamp():.3f}"
    assert header(sent, TARGET) == "videos.validated"
    event = body_of(sent, ValidatedVideo)
    (attempt,) = event.job.attempts
    assert attempt == Attempt(
        step="extraction",
        code=code,
        at=WRITTEN_AT,
        strategy="backoff",
        wait_seconds=POLICIES[code].waits[0],
    )
    assert transitions(effects) == ["retrying"]
    assert audit_detail(effects) == {
        "code": code,
        "due": due.isoformat(),
        "step": "extraction",
        "strategy": "backoff",
    }
    assert len(effects) == 2
    assert not outcomes(effects)


async def test_retry_names_the_endpoint_of_the_failed_attempt() -> None:
    failure = make_failure(
        ErrorCode.NETWORK_TIMEOUT, platform="tiktok", operation="extract", egress="direct"
    )
    assert audit_detail(await effects_of(failure))["endpoint"] == "tiktok:extract:direct"


@pytest.mark.parametrize("code", OUTAGES)
async def test_outage_parks_the_job(code: ErrorCode) -> None:
    effects = await effects_of(make_failure(code))
    sent = delayed_record(effects)
    due = NOW + timedelta(seconds=POLICIES[code].waits[0])
    assert header(sent, DUE) == f"{due.timestamp():.3f}"
    job = body_of(sent, ValidatedVideo).job
    assert job == make_job(parked=Parking(times=1, since=NOW, code=code))
    assert transitions(effects) == ["parked"]
    assert audit_detail(effects)["strategy"] == "wait"
    assert not outcomes(effects)


@pytest.mark.parametrize("code", FINAL)
async def test_final_failure_is_the_outcome(code: ErrorCode) -> None:
    effects = await effects_of(make_failure(code, validated(attributes={"a": "b"}), engine=ENGINE))
    found = outcome(effects)
    assert found.error.error_type is code
    if isinstance(found, Failed):
        assert found.engine == ENGINE
    assert (found.attempts, found.attributes) == (1, {"a": "b"})
    assert len(dead_letters(effects)) == POLICIES[code].dead_letter


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
async def test_error_code_decides_the_outcome_type(code: ErrorCode, kind: type[Any]) -> None:
    assert isinstance(outcome(await effects_of(make_failure(code))), kind)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_event_is_retried_at_its_own_step(event: Event) -> None:
    sent = delayed_record(await effects_of(make_failure(ErrorCode.NETWORK_DNS, event)))
    topic, kind = EVENT_TOPICS[type(event)]
    assert header(sent, TARGET) == topic.name
    assert header(sent, "ce_type") == f"io.clipmill.{kind}"
    retried = body_of(sent, type(event))
    assert msgspec.structs.replace(retried, job=event.job) == event
    assert msgspec.structs.replace(retried.job, attempts=()) == event.job


async def test_batch_member_keeps_its_batch_fields() -> None:
    job = member_job(2, timings={"validation": 1.0}, attributes={"a": "b"})
    event = ValidatedVideo(job=job, video=VIDEO)
    retried = body_of(
        delayed_record(await effects_of(make_failure(ErrorCode.NETWORK_DNS, event))), ValidatedVideo
    )
    assert msgspec.structs.replace(retried.job, attempts=()) == job


@pytest.mark.parametrize(
    ("seconds", "topic"),
    [(0.1, "5s"), (5, "5s"), (5.1, "30s"), (31, "2m"), (121, "10m"), (601, "1h"), (20_000, "1h")],
)
async def test_delay_topic_covers_the_wait(seconds: float, topic: str) -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_API, retry_after_seconds=seconds)
    sent = delayed_record(await effects_of(failure))
    assert sent.topic.name == f"retry.{topic}"
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_retry_without_a_wait_skips_the_delay_topics(event: Event) -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_API, event, retry_after_seconds=0)
    effects = await effects_of(failure)
    topic, kind = EVENT_TOPICS[type(event)]
    sent = only_record(effects, topic)
    assert header(sent, "ce_type") == f"io.clipmill.{kind}"
    assert (header(sent, DUE), header(sent, TARGET)) == (None, None)
    assert topic in recovery_stage.produces
    assert len(effects) == 2


@pytest.mark.parametrize(("uniform", "seconds"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
async def test_jitter_uses_the_given_random_source(uniform: float, seconds: float) -> None:
    sent = delayed_record(await effects_of(make_failure(ErrorCode.NETWORK_DNS), uniform=uniform))
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize("event", EVENTS[1:], ids=lambda event: type(event).__name__)
async def test_expired_link_restarts_at_extraction_with_a_fresh_page(event: Event) -> None:
    failure = make_failure(ErrorCode.CONTENT_LINK_EXPIRED, event, step="download")
    effects = await effects_of(failure)
    sent = only_record(effects, VALIDATED)
    retried = body_of(sent, ValidatedVideo)
    assert retried.job.page.outdated
    assert not retried.job.options.refresh
    assert retried.video == VIDEO
    assert header(sent, "ce_type") == "io.clipmill.video.validated.v1"
    assert sent.key == VIDEO.key.encode()
    assert audit_detail(effects)["page"] == "read again"
    (attempt,) = retried.job.attempts
    assert (attempt.strategy, attempt.counted) == ("fresh_extraction", False)


async def test_pending_link_is_retried_as_a_pending_link() -> None:
    event = PendingLink(job=make_job())
    failure = make_failure(ErrorCode.CONTENT_LOGIN_REQUIRED, event, **EXTRACT_ENDPOINT)
    sent = only_record(await effects_of(failure, accounts=("main",)), REQUESTS)
    assert body_of(sent, PendingLink).job.authenticate


async def test_outage_waits_are_counted_in_one_parking_entry() -> None:
    code = ErrorCode.SYSTEM_STORAGE
    before = Parking(times=20, since=WRITTEN_AT, code=code)
    job = body_of(
        delayed_record(await effects_of(make_failure(code, validated(parked=before)))),
        ValidatedVideo,
    ).job
    assert job.parked == Parking(times=21, since=WRITTEN_AT, code=code)
    assert job.attempts == ()


# Breakers, egresses, accounts


async def test_not_permitted_failure_waits_for_the_breaker_of_its_endpoint() -> None:
    failure = make_failure(ErrorCode.NETWORK_SERVER, permitted=False, **EXTRACT_ENDPOINT)
    effects = await effects_of(failure, ONE_EGRESS, OPEN)
    assert OPEN.until is not None
    assert header(delayed_record(effects), DUE) == f"{OPEN.until.timestamp():.3f}"
    job = body_of(delayed_record(effects), ValidatedVideo).job
    assert (job.attempts, job.try_number) == ((), 2)
    assert transitions(effects) == ["parked"]


async def test_not_permitted_failure_out_of_time_has_no_attempts() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    failure = make_failure(ErrorCode.NETWORK_SERVER, permitted=False, **EXTRACT_ENDPOINT)
    found = outcome(await effects_of(failure, None, OPEN, now=late))
    assert (found.attempts, found.recovery) == (0, ())


async def test_ip_block_switches_to_another_egress_at_once() -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_IP_BLOCK, **EXTRACT_ENDPOINT)
    effects = await effects_of(failure, TWO_EGRESSES, OPEN)
    job = body_of(only_record(effects, VALIDATED), ValidatedVideo).job
    assert job.avoid_egress == ("a",)
    (attempt,) = job.attempts
    assert attempt == Attempt(
        step="extraction",
        code=ErrorCode.RATE_LIMIT_IP_BLOCK,
        at=WRITTEN_AT,
        counted=False,
        egress="a",
        strategy="other_egress",
        changed={"egress": "a -> another"},
    )
    assert audit_detail(effects)["egress"] == "a -> another"
    assert transitions(effects) == ["retrying"]


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
async def test_egress_whose_breaker_is_not_closed_is_no_alternative(state: Any) -> None:
    other = msgspec.structs.replace(OPEN, egress="b", state=state)
    effects = await effects_of(
        make_failure(ErrorCode.RATE_LIMIT_IP_BLOCK, **EXTRACT_ENDPOINT), TWO_EGRESSES, other
    )
    assert delayed_record(effects).topic.name == "retry.10m"


async def test_breaker_of_another_operation_is_ignored() -> None:
    other = msgspec.structs.replace(OPEN, operation="download")
    effects = await effects_of(
        make_failure(ErrorCode.NETWORK_SERVER, **EXTRACT_ENDPOINT), None, other
    )
    assert delayed_record(effects).topic.name == "retry.5s"
    assert transitions(effects) == ["retrying"]


async def test_undecodable_breaker_state_is_ignored() -> None:
    recovery = recovery_of()
    recovery._shared_state.put(f"breaker/{OPEN.name}", b"{")
    failure = make_failure(ErrorCode.NETWORK_SERVER, **EXTRACT_ENDPOINT)
    effects = list(await recovery.handle(failure_record(failure)))
    assert delayed_record(effects).topic.name == "retry.5s"


@pytest.mark.parametrize(("platform", "retried"), [("tiktok", True), ("other", False)])
async def test_login_required_uses_an_account_of_the_platform(platform: str, retried: bool) -> None:
    endpoint = {**EXTRACT_ENDPOINT, "platform": platform}
    failure = make_failure(ErrorCode.CONTENT_LOGIN_REQUIRED, **endpoint)
    effects = await effects_of(failure, accounts=("main",))
    if not retried:
        assert isinstance(outcome(effects), Failed)
        return
    job = body_of(only_record(effects, VALIDATED), ValidatedVideo).job
    assert job.authenticate
    assert job.page.outdated


async def test_rate_limited_account_is_replaced_by_another() -> None:
    code = ErrorCode.RATE_LIMIT_ACCOUNT
    failure = make_failure(code, validated(authenticate=True), account="main", **EXTRACT_ENDPOINT)
    effects = await effects_of(failure, accounts=("main", "spare"))
    job = body_of(only_record(effects, VALIDATED), ValidatedVideo).job
    assert (job.avoid_accounts, job.attempts[0].strategy) == (("main",), "other_account")
    assert audit_detail(effects)["account"] == "main -> another"
    assert delayed_record(await effects_of(failure, accounts=("main",))).topic.name == "retry.10m"


async def test_exhausted_accounts_park_the_job_until_retry_after() -> None:
    event = validated(authenticate=True)
    failure = make_failure(
        ErrorCode.RATE_LIMIT_ACCOUNT, event, permitted=False, retry_after_seconds=300.0
    )
    effects = await effects_of(failure, accounts=("main", "spare"))
    assert delayed_record(effects)
    assert audit_detail(effects)["strategy"] == "wait"
    due = datetime.fromisoformat(audit_detail(effects)["due"])
    assert due == NOW + timedelta(seconds=300)


async def test_accounts_come_from_the_settings(tmp_path: Path) -> None:
    files = (tmp_path / "main.txt", tmp_path / "spare.txt")
    context, _ = make_context(make_settings(auth=AuthSettings(cookie_files={"tiktok": files})))
    event = validated(authenticate=True, received_at=datetime.now(UTC))
    failure = make_failure(
        ErrorCode.CONTENT_LOGIN_REQUIRED, event, account="main", **EXTRACT_ENDPOINT
    )
    async with opened_stage(recovery_stage, context) as handle:
        effects = list(await handle(failure_record(failure)))
    assert body_of(only_record(effects, VALIDATED), ValidatedVideo).job.avoid_accounts == ("main",)


async def test_lower_quality_restarts_at_extraction() -> None:
    low = msgspec.structs.replace(FORMAT, format_id="low", width=540, height=960)
    attempts = (make_attempt(ErrorCode.NETWORK_TIMEOUT, "download"),)
    event = msgspec.structs.replace(
        selected(attempts=attempts), info=msgspec.structs.replace(INFO, formats=(FORMAT, low))
    )
    failure = make_failure(
        ErrorCode.NETWORK_TIMEOUT, event, step="download", format_id=FORMAT.format_id
    )
    effects = await effects_of(failure)
    sent = delayed_record(effects)
    assert header(sent, TARGET) == "videos.validated"
    job = body_of(sent, ValidatedVideo).job
    assert (job.options.quality, job.options.refresh) == ("480p", False)
    assert job.attempts[-1].changed == {"quality": "best -> 480p"}
    assert job.attempts[-1].counted


# Error handlers


class FixedHandler:
    """A handler that always returns the same decision."""

    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision
        self.calls = 0

    def can_handle(self, failure: Failure) -> bool:
        return failure.platform != "other"

    async def handle(self, failure: Failure) -> Decision | None:
        assert failure.job.request_id == "r1"
        self.calls += 1
        return self.decision


async def test_installed_error_handler_decides_first() -> None:
    handlers = ErrorHandlers({"mine": FixedHandler(Backoff(due=NOW + timedelta(seconds=20)))})
    sent = delayed_record(
        await effects_of(make_failure(ErrorCode.CONTENT_PRIVATE), handlers=handlers)
    )
    assert sent.topic.name == "retry.30s"


async def test_handler_decision_is_bounded_by_the_deadline() -> None:
    deadline = NOW + timedelta(seconds=9)
    handlers = ErrorHandlers({"mine": FixedHandler(Backoff(due=NOW + timedelta(days=99)))})
    failure = make_failure(ErrorCode.CONTENT_PRIVATE, validated(deadline=deadline))
    sent = delayed_record(await effects_of(failure, handlers=handlers))
    assert header(sent, DUE) == f"{deadline.timestamp():.3f}"


async def test_handler_decision_is_void_after_the_total_time() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    handlers = ErrorHandlers({"mine": FixedHandler(Park(due=late, code=ErrorCode.NETWORK_DNS))})
    effects = await effects_of(make_failure(ErrorCode.NETWORK_DNS), handlers=handlers, now=late)
    assert isinstance(outcome(effects), Failed)


async def test_handler_returning_none_leaves_the_failure_to_the_policy() -> None:
    handler = FixedHandler(None)
    effects = await effects_of(
        make_failure(ErrorCode.NETWORK_DNS), handlers=ErrorHandlers({"mine": handler})
    )
    assert delayed_record(effects).topic.name == "retry.5s"
    assert handler.calls == 1


async def test_handler_is_not_called_for_a_not_permitted_failure() -> None:
    handler = FixedHandler(Fail())
    failure = make_failure(ErrorCode.NETWORK_DNS, permitted=False, **EXTRACT_ENDPOINT)
    effects = await effects_of(failure, handlers=ErrorHandlers({"mine": handler}))
    assert transitions(effects) == ["parked"]
    assert handler.calls == 0


# Final failures


@pytest.mark.parametrize("code", [code for code in ErrorCode if POLICIES[code].dead_letter])
async def test_failure_that_an_operator_can_fix_is_dead_lettered(code: ErrorCode) -> None:
    attempts = tuple(make_attempt(code) for _ in POLICIES[code].waits)
    failure = make_failure(code, selected(attempts=attempts), step="extraction")
    effects = await effects_of(failure)
    (dead_letter,) = dead_letters(effects)
    assert dead_letter.key == VIDEO.key.encode()
    assert body_of(dead_letter, SelectedVideo) == selected(attempts=attempts)
    assert header(dead_letter, "ce_type") == "io.clipmill.video.selected.v1"
    assert header(dead_letter, "clipmill_code") == code
    assert header(dead_letter, "clipmill_origin_topic") == "videos.selected"
    assert header(dead_letter, "clipmill_step") == "extraction"
    assert header(dead_letter, "clipmill_attempts") == str(len(attempts) + 1)
    found = outcome(effects)
    assert isinstance(found, Failed)
    assert (found.attempts, len(found.recovery)) == (len(attempts) + 1, len(attempts) + 1)


async def test_failure_after_the_total_time_is_final() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    effects = await effects_of(make_failure(ErrorCode.PLATFORM_CHANGED), now=late)
    assert isinstance(outcome(effects), Failed)


async def test_outcome_is_proposed_by_the_step_that_failed() -> None:
    effects = await effects_of(make_failure(ErrorCode.CONTENT_PRIVATE, step="download"))
    assert body_of(only_record(effects, AUDIT), AuditRecord).step == "download"
    assert outcome(effects).error.operation == "download"


async def test_redelivery_keeps_event_ids_and_next_attempt_gets_others() -> None:
    failure = make_failure(ErrorCode.NETWORK_DNS)
    first = [header(each, "ce_id") for each in await effects_of(failure)]
    copy = [header(each, "ce_id") for each in await effects_of(failure, uniform=1.0)]
    later = make_failure(ErrorCode.NETWORK_DNS, validated(attempts=(make_attempt(),)))
    second = [header(each, "ce_id") for each in await effects_of(later)]
    assert first == copy
    assert not set(first) & set(second)


def encoded_failure(**fields: object) -> bytes:
    body = msgspec.json.decode(encode(make_failure(ErrorCode.NETWORK_DNS)), type=dict[str, Any])
    return encode({**body, **fields})


def mismatched_record(
    *, kind: str = "video.validated.v1", value: bytes | None = None
) -> FailedRecord:
    """A failed record whose value does not match its headers."""
    record = make_failure(ErrorCode.NETWORK_DNS).record
    headers = [(name, text) for name, text in record.headers if name != "ce_type"]
    return msgspec.structs.replace(
        record,
        value=record.value if value is None else value,
        headers=(*headers, ("ce_type", f"io.clipmill.{kind}".encode())),
    )


UNDECODABLE = {
    "not UTF-8": b"\xff",
    "empty": b"",
    "not a failure": b"{}",
    "unknown kind": encoded_failure(record=mismatched_record(kind="x" * 5_000)),
    "event of another kind": encoded_failure(record=mismatched_record(kind="video.selected.v1")),
    "not an event": encoded_failure(record=mismatched_record(value=b"{}")),
    "unknown code": encoded_failure(error={"operation": "o", "url": "u", "error_type": "x"}),
    "no value": None,
}


@pytest.mark.parametrize("name", UNDECODABLE)
async def test_undecodable_failure_ends_its_request(name: str) -> None:
    recovery = recovery_of()
    record = make_record(UNDECODABLE[name], topic=ERRORS, headers=[("ce_correlationid", b"r1")])
    effects = await recovery.handle(record)
    assert [each.value for each in dead_letters(effects)] == [record.value]
    assert outcome(effects).request_id == "r1"
    assert len(effects) == 2


def test_bug_in_recovery_ends_the_request_and_dead_letters_the_event() -> None:
    record = failure_record(make_failure(ErrorCode.NETWORK_DNS, selected()))
    effects = on_bug(record, RuntimeError("oops"))
    assert outcome(effects).error.error_type is ErrorCode.INTERNAL_BUG
    (dead_letter,) = dead_letters(effects)
    assert body_of(dead_letter, SelectedVideo) == selected()


def test_bug_with_an_undecodable_record_is_dead_lettered() -> None:
    effects = on_bug(make_record(b"\xff", topic=ERRORS), RuntimeError("oops"))
    assert len(effects) == len(dead_letters(effects)) == 1


async def test_stage_uses_the_retry_settings() -> None:
    context, _ = make_context(make_settings(retry=RetrySettings(total_seconds=1)))
    async with opened_stage(recovery_stage, context) as handle:
        effects = await handle(failure_record(make_failure(ErrorCode.NETWORK_DNS)))
    assert isinstance(outcome(effects), Failed)
