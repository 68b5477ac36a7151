import pytest

from agents.download.download_task import ProgressMeter
from agents.pipeline.events import (
    EVENT_TOPICS,
    EVENTS_BY_KIND,
    Event,
    audit,
    event_key,
    propose_result,
    publish_failure,
    publish_result,
    report_progress,
    send_event,
    subject_of,
    user_command,
)
from agents.pipeline.results import expired
from schemas.audit import AuditRecord
from schemas.commands import Cancel, Retry
from schemas.errors import ErrorCode
from schemas.events import PendingLink, Progress, ValidatedListing
from schemas.listing import ListingRef
from streams.envelope import open_envelope
from streams.topics import AUDIT, ERRORS, PROGRESS, RESULTS
from tests.unit.agents.builders import (
    FORMAT,
    FUTURE,
    TRACE_ID,
    URL,
    VIDEO,
    WRITTEN_AT,
    as_incoming,
    body_of,
    extracted,
    header,
    make_attempt,
    make_failure,
    make_job,
    selected,
    validated,
)

LISTING = ListingRef(platform="tiktok", kind="profile", id="a", url="https://www.tiktok.com/@a")
EVENTS: list[Event] = [
    PendingLink(job=make_job()),
    validated(),
    ValidatedListing(job=make_job(), listing=LISTING),
    extracted(),
    selected(),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_has_its_topic_key_and_type(event: Event) -> None:
    topic, kind = EVENT_TOPICS[type(event)]
    sent = send_event(event, "validation", "cause-1")
    assert sent.topic is topic
    assert sent.key == event_key(event).encode()
    assert header(sent, "ce_type") == f"io.clipmill.{kind}"
    assert header(sent, "ce_source") == "/clipmill/validation"
    assert EVENTS_BY_KIND[kind] is type(event)
    assert body_of(sent, type(event)) == event


def test_no_two_events_share_a_type() -> None:
    assert len(EVENTS_BY_KIND) == len(EVENT_TOPICS)


def test_subject_is_the_post_listing_or_link() -> None:
    assert [subject_of(event) for event in EVENTS[:3]] == [URL, VIDEO.key, "tiktok:profile/a"]


def test_videos_are_keyed_by_video_and_pending_links_by_request() -> None:
    keys = ["r1", VIDEO.key, LISTING.key, VIDEO.key, VIDEO.key]
    assert [event_key(event) for event in EVENTS] == keys


def test_envelope_survives_a_round_trip() -> None:
    job = make_job(deadline=FUTURE)
    envelope = open_envelope(as_incoming(send_event(PendingLink(job=job), "recovery", "cause")))
    assert envelope.correlation_id == "r1"
    assert envelope.expires == FUTURE
    assert envelope.trace_id == TRACE_ID
    assert envelope.type == "io.clipmill.link.pending.v1"


def test_event_ids_include_the_attempt_number() -> None:
    first = send_event(validated(), "validation", None)
    second = send_event(validated(attempts=(make_attempt(),)), "validation", None)
    assert header(first, "ce_id") == "r1:video.validated.v1:1"
    assert header(second, "ce_id") == "r1:video.validated.v1:2"


def test_failure_uses_the_given_key_or_the_request_id() -> None:
    failure = make_failure(ErrorCode.NETWORK_DNS)
    sent = publish_failure(failure, "key", "cause")
    assert (sent.topic, sent.key) == (ERRORS, b"key")
    assert publish_failure(failure, None, "cause").key == b"r1"
    assert header(sent, "ce_source") == "/clipmill/extraction"


def test_audit_record_has_step_transition_and_detail() -> None:
    sent = audit(make_job(), "extraction", "extracted", "cause", detail={"cache": "hit"})
    entry = body_of(sent, AuditRecord)
    assert (sent.topic, sent.key) == (AUDIT, b"r1")
    assert (entry.request_id, entry.step, entry.transition) == ("r1", "extraction", "extracted")
    assert entry.detail == {"cache": "hit"}


@pytest.mark.parametrize(
    ("step", "replays", "carries_job"),
    [("validation", 0, True), ("extraction", 0, False), ("extraction", 1, True)],
)
def test_audit_record_carries_the_job_at_validation_and_after_replays(
    step: str, replays: int, carries_job: bool
) -> None:
    job = make_job(replays=replays)
    entry = body_of(audit(job, step, "extracted", "cause"), AuditRecord)
    assert entry.job == (job if carries_job else None)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (Cancel(id="c1", request_id="r1", by="ann"), "cancel"),
        (Retry(id="c1", request_id="r1", by="ann"), "retry"),
    ],
)
def test_user_command_is_keyed_by_its_request(command: Cancel | Retry, name: str) -> None:
    sent = user_command(command, "commands", at=WRITTEN_AT, cause="c1", trace_id=TRACE_ID)
    entry = body_of(sent, AuditRecord)
    assert (sent.topic, sent.key) == (AUDIT, b"r1")
    assert header(sent, "ce_id") == "c1:request.ordered.v1:r1"
    assert header(sent, "ce_type") == "io.clipmill.request.ordered.v1"
    assert (entry.command, entry.detail) == (command, {"command": name, "by": "ann"})


def test_each_progress_report_is_a_distinct_event() -> None:
    meter = ProgressMeter("r1", VIDEO.key, [FORMAT], lambda: 0.0)
    reports = [meter.finish(FORMAT.format_id, done) for done in (5, 10)]
    sent = [report_progress(each, make_job(), "download") for each in reports if each]
    assert [body_of(each, Progress).bytes for each in sent] == [5, 10]
    assert len({header(each, "ce_id") for each in sent}) == 2
    assert {(each.topic, each.key) for each in sent} == {(PROGRESS, b"r1")}


def test_result_has_one_id_for_any_publisher() -> None:
    first = publish_result("r1", "completed", b"{}", TRACE_ID, "one", reply=None)
    second = publish_result("r1", "failed", b"{}", TRACE_ID, "two", reply=None)
    assert header(first, "ce_id") == header(second, "ce_id") == "r1:result"
    assert header(first, "ce_type") == "io.clipmill.request.completed.v1"
    assert (first.topic, first.key) == (RESULTS, b"r1")


def test_absent_deadline_and_cause_have_no_headers() -> None:
    sent = propose_result(make_job(), "extraction", expired(make_job(), "extraction"), None)
    assert header(sent, "ce_expirytime") is None
    assert header(sent, "ce_causationid") is None
