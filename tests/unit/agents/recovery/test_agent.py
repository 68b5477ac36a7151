from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.pipeline.events import DUE, EVENT_TOPICS, TARGET, Event
from agents.recovery.agent import ATTEMPT_LABELS, STEPS, Recovery, on_bug
from agents.recovery.agent import stage as recovery_stage
from agents.recovery.decisions import Decision, Fail, Park, Retry
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.retry_policy import POLICIES
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.events import PendingLink, SelectedVideo, ValidatedVideo
from schemas.failure import FailedRecord, Failure
from schemas.job import Attempt, Parking
from schemas.results import Cancelled, Expired, Failed, Rejected
from schemas.signals import BreakerState
from streams.cluster.shared_state import SharedState
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
    only,
    opened_stage,
    outcome,
    outcomes,
    selected,
    transitions,
    validated,
)

NOW = WRITTEN_AT + timedelta(seconds=60)
EVENTS: list[Event] = [PendingLink(job=make_job()), validated(), extracted(), selected()]


ALONE = make_settings(egress=EgressSettings(proxies={"a": "http://a.test"}))
POOL = make_settings(egress=EgressSettings(proxies={"a": "http://a.test", "b": "http://b.test"}))
OPEN = BreakerState(
    platform="tiktok",
    operation="extract",
    egress="a",
    state="open",
    since=NOW,
    until=NOW + timedelta(seconds=42),
)
EXTRACT: dict[str, Any] = {"platform": "tiktok", "operation": "extract", "egress": "a"}


def recovery_of(
    settings: Settings | None = None,
    *breakers: BreakerState,
    handlers: ErrorHandlers | None = None,
    accounts: tuple[str, ...] = (),
    now: datetime = NOW,
    chance: float = 0.0,
) -> Recovery:
    signals = SharedState(clock=lambda: 0.0)
    for each in breakers:
        signals.put(f"breaker/{each.name}", encode(each))
    return Recovery(
        settings or make_settings(),
        signals,
        handlers or ErrorHandlers({}),
        accounts=lambda platform: accounts if platform == "tiktok" else (),
        chance=lambda: chance,
        clock=lambda: now,
    )


async def run(
    failure: Failure,
    settings: Settings | None = None,
    *breakers: BreakerState,
    **changes: Any,
) -> list[Effect]:
    recovery = recovery_of(settings, *breakers, **changes)
    return list(await recovery.handle(failure_record(failure)))


def parked(effects: list[Effect]) -> Outgoing:
    (found,) = [each for each in effects if isinstance(each, Outgoing) and each.topic in DELAYS]
    return found


def detail_of(effects: list[Effect]) -> dict[str, str]:
    return body_of(only(effects, AUDIT), AuditRecord).detail


RETRIED = [code for code in ErrorCode if POLICIES[code].waits and not POLICIES[code].outage]
OUTAGES = [code for code in ErrorCode if POLICIES[code].outage]
READ_ANEW = [code for code in ErrorCode if "fresh_extraction" in POLICIES[code].at_once]
FINAL = [code for code in ErrorCode if not POLICIES[code].waits and code not in READ_ANEW]


def retries(step: str, attempt: str) -> float:
    labels = {"step": step, "attempt": attempt}
    return REGISTRY.get_sample_value("clipmill_retry_attempts_total", labels) or 0.0


@pytest.mark.parametrize(
    ("before", "label"),
    [
        pytest.param((), "1", id="the first"),
        pytest.param((make_attempt(),), "2", id="the second"),
        pytest.param((make_attempt(step="download"),) * 3, "1", id="others of another step"),
        pytest.param((make_attempt(counted=False),) * 3, "1", id="others that did not count"),
        pytest.param((make_attempt(),) * 5, "more", id="the sixth"),
        pytest.param((make_attempt(),) * 500, "more", id="far beyond"),
    ],
)
async def test_a_retry_is_counted_by_its_number(before: tuple[Attempt, ...], label: str) -> None:
    again = Fixed(Retry(due=NOW + timedelta(seconds=20)))
    failure = make_failure(ErrorCode.NETWORK_DNS, validated(attempts=before))
    count = retries("extraction", label)
    await run(failure, handlers=ErrorHandlers({"mine": again}))
    assert retries("extraction", label) == count + 1


@pytest.mark.parametrize(
    ("decision", "step"),
    [
        (Park(due=NOW + timedelta(seconds=20), code=ErrorCode.NETWORK_DNS), "extraction"),
        (Fail(), "extraction"),
        (Retry(due=NOW + timedelta(seconds=20)), "a step of another's record"),
    ],
)
async def test_what_is_no_retry_of_a_step_has_no_number(decision: Decision, step: str) -> None:
    before = sum(retries(name, label) for name in (*STEPS, step) for label in ATTEMPT_LABELS)
    failure = make_failure(ErrorCode.NETWORK_DNS, step=step)
    await run(failure, handlers=ErrorHandlers({"mine": Fixed(decision)}))
    after = sum(retries(name, label) for name in (*STEPS, step) for label in ATTEMPT_LABELS)
    assert after == before


@pytest.mark.parametrize("code", RETRIED)
async def test_a_failure_that_may_pass_waits(code: ErrorCode) -> None:
    effects = await run(make_failure(code))
    sent = parked(effects)
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
    assert detail_of(effects) == {
        "code": code,
        "due": due.isoformat(),
        "step": "extraction",
        "strategy": "backoff",
    }
    assert len(effects) == 2
    assert not outcomes(effects)


@pytest.mark.parametrize("code", OUTAGES)
async def test_an_outage_is_waited_out(code: ErrorCode) -> None:
    effects = await run(make_failure(code))
    sent = parked(effects)
    due = NOW + timedelta(seconds=POLICIES[code].waits[0])
    assert header(sent, DUE) == f"{due.timestamp():.3f}"
    job = body_of(sent, ValidatedVideo).job
    assert job == make_job(parked=Parking(times=1, since=NOW, code=code))
    assert transitions(effects) == ["parked"]
    assert detail_of(effects)["strategy"] == "wait"
    assert not outcomes(effects)


@pytest.mark.parametrize("code", FINAL)
async def test_a_failure_that_stays_is_the_outcome(code: ErrorCode) -> None:
    effects = await run(make_failure(code, validated(attributes={"a": "b"}), engine=ENGINE))
    found = outcome(effects)
    assert found.error.error_type is code
    if isinstance(found, Failed):
        assert found.engine == ENGINE
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
    [(0.1, "5s"), (5, "5s"), (5.1, "30s"), (31, "2m"), (121, "10m"), (601, "1h"), (20_000, "1h")],
)
async def test_the_delay_topic_fits_the_wait(seconds: float, topic: str) -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_API, retry_after_seconds=seconds)
    sent = parked(await run(failure))
    assert sent.topic.name == f"retry.{topic}"
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
async def test_what_does_not_wait_goes_straight_to_its_step(event: Event) -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_API, event, retry_after_seconds=0)
    effects = await run(failure)
    topic, kind = EVENT_TOPICS[type(event)]
    sent = only(effects, topic)
    assert header(sent, "ce_type") == f"io.clipmill.{kind}"
    assert (header(sent, DUE), header(sent, TARGET)) == (None, None)
    assert len(effects) == 2


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
async def test_jitter_comes_from_the_given_chance(chance: float, seconds: float) -> None:
    sent = parked(await run(make_failure(ErrorCode.NETWORK_DNS), chance=chance))
    due = NOW + timedelta(seconds=seconds)
    assert header(sent, DUE) == f"{due.timestamp():.3f}"


@pytest.mark.parametrize("event", EVENTS[1:], ids=lambda event: type(event).__name__)
async def test_a_dead_link_makes_the_page_be_read_anew(event: Event) -> None:
    failure = make_failure(ErrorCode.CONTENT_LINK_EXPIRED, event, step="download")
    effects = await run(failure)
    sent = only(effects, VALIDATED)
    again = body_of(sent, ValidatedVideo)
    assert again.job.page.outdated
    assert not again.job.options.refresh
    assert again.video == VIDEO
    assert header(sent, "ce_type") == "io.clipmill.video.validated.v1"
    assert sent.key == VIDEO.key.encode()
    assert detail_of(effects)["page"] == "read anew"
    (attempt,) = again.job.attempts
    assert (attempt.strategy, attempt.counted) == ("fresh_extraction", False)


async def test_a_short_link_stays_one() -> None:
    event = PendingLink(job=make_job())
    failure = make_failure(ErrorCode.CONTENT_LOGIN_REQUIRED, event, **EXTRACT)
    sent = only(await run(failure, accounts=("main",)), REQUESTS)
    assert body_of(sent, PendingLink).job.authenticate


async def test_waits_for_an_outage_are_one_line_in_the_result() -> None:
    code = ErrorCode.SYSTEM_STORAGE
    before = Parking(times=20, since=WRITTEN_AT, code=code)
    job = body_of(
        parked(await run(make_failure(code, validated(parked=before)))), ValidatedVideo
    ).job
    assert job.parked == Parking(times=21, since=WRITTEN_AT, code=code)
    assert job.attempts == ()


# Breakers, ways out, cookies


async def test_what_was_not_permitted_waits_for_the_breaker_of_its_way() -> None:
    failure = make_failure(ErrorCode.NETWORK_SERVER, permitted=False, **EXTRACT)
    effects = await run(failure, ALONE, OPEN)
    assert OPEN.until is not None
    assert header(parked(effects), DUE) == f"{OPEN.until.timestamp():.3f}"
    job = body_of(parked(effects), ValidatedVideo).job
    assert (job.attempts, job.tries) == ((), 2)
    assert transitions(effects) == ["parked"]


async def test_what_was_not_permitted_and_runs_out_of_time_was_not_tried() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    failure = make_failure(ErrorCode.NETWORK_SERVER, permitted=False, **EXTRACT)
    found = outcome(await run(failure, None, OPEN, now=late))
    assert (found.attempts, found.recovery) == (0, ())


async def test_another_way_out_is_taken_at_once() -> None:
    failure = make_failure(ErrorCode.RATE_LIMIT_IP_BLOCK, **EXTRACT)
    effects = await run(failure, POOL, OPEN)
    job = body_of(only(effects, VALIDATED), ValidatedVideo).job
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
    assert detail_of(effects)["egress"] == "a -> another"
    assert transitions(effects) == ["retrying"]


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
async def test_a_way_out_that_is_not_open_is_none(state: Any) -> None:
    other = msgspec.structs.replace(OPEN, egress="b", state=state)
    effects = await run(make_failure(ErrorCode.RATE_LIMIT_IP_BLOCK, **EXTRACT), POOL, other)
    assert parked(effects).topic.name == "retry.10m"


async def test_the_breaker_of_another_operation_does_not_matter() -> None:
    other = msgspec.structs.replace(OPEN, operation="download")
    effects = await run(make_failure(ErrorCode.NETWORK_SERVER, **EXTRACT), None, other)
    assert parked(effects).topic.name == "retry.5s"
    assert transitions(effects) == ["retrying"]


async def test_a_breaker_that_cannot_be_read_is_none() -> None:
    recovery = recovery_of()
    recovery._signals.put(f"breaker/{OPEN.name}", b"{")
    failure = make_failure(ErrorCode.NETWORK_SERVER, **EXTRACT)
    effects = list(await recovery.handle(failure_record(failure)))
    assert parked(effects).topic.name == "retry.5s"


@pytest.mark.parametrize(("platform", "retried"), [("tiktok", True), ("other", False)])
async def test_an_account_of_the_platform_is_used(platform: str, retried: bool) -> None:
    place = {**EXTRACT, "platform": platform}
    failure = make_failure(ErrorCode.CONTENT_LOGIN_REQUIRED, **place)
    effects = await run(failure, accounts=("main",))
    if not retried:
        assert isinstance(outcome(effects), Failed)
        return
    job = body_of(only(effects, VALIDATED), ValidatedVideo).job
    assert job.authenticate
    assert job.page.outdated


async def test_accounts_take_the_place_of_one_that_is_limited() -> None:
    code = ErrorCode.RATE_LIMIT_ACCOUNT
    failure = make_failure(code, validated(authenticate=True), account="main", **EXTRACT)
    effects = await run(failure, accounts=("main", "spare"))
    job = body_of(only(effects, VALIDATED), ValidatedVideo).job
    assert (job.avoid_accounts, job.attempts[0].strategy) == (("main",), "other_account")
    assert detail_of(effects)["account"] == "main -> another"
    assert parked(await run(failure, accounts=("main",))).topic.name == "retry.10m"


async def test_resting_accounts_are_waited_for() -> None:
    event = validated(authenticate=True)
    failure = make_failure(
        ErrorCode.RATE_LIMIT_ACCOUNT, event, permitted=False, retry_after_seconds=300.0
    )
    effects = await run(failure, accounts=("main", "spare"))
    assert parked(effects)
    assert detail_of(effects)["strategy"] == "wait"
    due = datetime.fromisoformat(detail_of(effects)["due"])
    assert due == NOW + timedelta(seconds=300)


async def test_the_settings_say_which_accounts_there_are(tmp_path: Path) -> None:
    files = (tmp_path / "main.txt", tmp_path / "spare.txt")
    context, _ = make_context(make_settings(auth=AuthSettings(cookie_files={"tiktok": files})))
    event = validated(authenticate=True, received_at=datetime.now(UTC))
    failure = make_failure(ErrorCode.CONTENT_LOGIN_REQUIRED, event, account="main", **EXTRACT)
    async with opened_stage(recovery_stage, context) as handle:
        effects = list(await handle(failure_record(failure)))
    assert body_of(only(effects, VALIDATED), ValidatedVideo).job.avoid_accounts == ("main",)


async def test_a_lower_quality_begins_with_the_page() -> None:
    low = msgspec.structs.replace(FORMAT, format_id="low", width=540, height=960)
    attempts = (make_attempt(ErrorCode.NETWORK_TIMEOUT, "download"),)
    event = msgspec.structs.replace(
        selected(attempts=attempts), info=msgspec.structs.replace(INFO, formats=(FORMAT, low))
    )
    failure = make_failure(
        ErrorCode.NETWORK_TIMEOUT, event, step="download", format_id=FORMAT.format_id
    )
    effects = await run(failure)
    sent = parked(effects)
    assert header(sent, TARGET) == "videos.validated"
    job = body_of(sent, ValidatedVideo).job
    assert (job.options.quality, job.options.refresh) == ("480p", False)
    assert job.attempts[-1].changed == {"quality": "best -> 480p"}
    assert job.attempts[-1].counted


# Who knows better


class Fixed:
    """A handler that always decides the same."""

    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision
        self.asked = 0

    def can_handle(self, failure: Failure) -> bool:
        return failure.platform != "other"

    async def handle(self, failure: Failure) -> Decision | None:
        assert failure.job.request_id == "r1"
        self.asked += 1
        return self.decision


async def test_an_error_handler_of_others_comes_first() -> None:
    handlers = ErrorHandlers({"mine": Fixed(Retry(due=NOW + timedelta(seconds=20)))})
    sent = parked(await run(make_failure(ErrorCode.CONTENT_PRIVATE), handlers=handlers))
    assert sent.topic.name == "retry.30s"


async def test_what_it_decides_stays_within_the_time_of_the_request() -> None:
    deadline = NOW + timedelta(seconds=9)
    handlers = ErrorHandlers({"mine": Fixed(Retry(due=NOW + timedelta(days=99)))})
    failure = make_failure(ErrorCode.CONTENT_PRIVATE, validated(deadline=deadline))
    sent = parked(await run(failure, handlers=handlers))
    assert header(sent, DUE) == f"{deadline.timestamp():.3f}"


async def test_it_decides_nothing_after_the_total_time() -> None:
    late = WRITTEN_AT + timedelta(seconds=RetrySettings().total_seconds)
    handlers = ErrorHandlers({"mine": Fixed(Park(due=late, code=ErrorCode.NETWORK_DNS))})
    effects = await run(make_failure(ErrorCode.NETWORK_DNS), handlers=handlers, now=late)
    assert isinstance(outcome(effects), Failed)


async def test_it_may_leave_a_failure_to_the_policy() -> None:
    mine = Fixed(None)
    effects = await run(make_failure(ErrorCode.NETWORK_DNS), handlers=ErrorHandlers({"mine": mine}))
    assert parked(effects).topic.name == "retry.5s"
    assert mine.asked == 1


async def test_it_is_not_asked_about_what_was_not_permitted() -> None:
    mine = Fixed(Fail())
    failure = make_failure(ErrorCode.NETWORK_DNS, permitted=False, **EXTRACT)
    effects = await run(failure, handlers=ErrorHandlers({"mine": mine}))
    assert transitions(effects) == ["parked"]
    assert mine.asked == 0


# The end


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
    return encode({**body, **fields})


def wrong(*, kind: str = "video.validated.v1", value: bytes | None = None) -> FailedRecord:
    """A record that failed and is not what its headers say."""
    record = make_failure(ErrorCode.NETWORK_DNS).record
    headers = [(name, text) for name, text in record.headers if name != "ce_type"]
    return msgspec.structs.replace(
        record,
        value=record.value if value is None else value,
        headers=(*headers, ("ce_type", f"io.clipmill.{kind}".encode())),
    )


UNREADABLE = {
    "no text": b"\xff",
    "empty": b"",
    "no failure": b"{}",
    "unknown kind": changed(record=wrong(kind="x" * 5_000)),
    "event of another kind": changed(record=wrong(kind="video.selected.v1")),
    "no event": changed(record=wrong(value=b"{}")),
    "unknown code": changed(error={"operation": "o", "url": "u", "error_type": "x"}),
    "no value": None,
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_is_no_failure_ends_its_request(name: str) -> None:
    recovery = recovery_of()
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
    async with opened_stage(recovery_stage, context) as handle:
        effects = await handle(failure_record(make_failure(ErrorCode.NETWORK_DNS)))
    assert isinstance(outcome(effects), Failed)
