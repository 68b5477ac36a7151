import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from agents.access.breaker_client import by_preference
from agents.access.gate import OutboundGate
from agents.delay import handle as delay
from agents.pipeline.request_claims import SLICE
from agents.pipeline.request_parsing import clip
from agents.platforms.interface import Platform, ShortLink
from agents.platforms.registry import Platforms
from agents.recovery.agent import Recovery
from agents.recovery.error_handlers import ErrorHandlers
from agents.recovery.media_hosts import MediaHostRecorder
from agents.validation.agent import Validation
from agents.validation.agent import stage as validation_stage
from agents.validation.requested_jobs import on_bug
from agents.validation.url_resolution import ShortLinkResolver, TargetFinder
from schemas.attempts import NetworkAttempt
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import PendingLink, ValidatedVideo
from schemas.job import Attempt, BatchMember
from schemas.request import MAX_URL_CHARACTERS
from schemas.results import Cancelled, Expired, Rejected
from schemas.signals import BreakerState
from schemas.video import VideoRef
from streams.cluster.shared_state import SharedState
from streams.media_host_waits import MediaHostWaits
from streams.records import Incoming, Outgoing
from streams.settings import EgressSettings, Settings
from streams.topics import ATTEMPTS, DELAYS, ERRORS, REQUEST_BYTES_MAX, REQUESTS, VALIDATED
from tests.unit.agents.builders import (
    FUTURE,
    PAST,
    SHORT_URL,
    TRACE_ID,
    TRACEPARENT,
    URL,
    VIDEO,
    WRITTEN_AT,
    FakeLinks,
    as_incoming,
    body_of,
    collect_effects,
    dead_letters,
    event_record,
    failure,
    header,
    largest_record_bytes,
    make_attempt,
    make_context,
    make_gate,
    make_job,
    make_record,
    make_settings,
    member_job,
    only_record,
    outcome,
    outcomes,
    pending_link,
    request,
    seconds_from_now,
    sent_to,
    transitions,
)
from tests.unit.agents.pipeline.test_request_parsing import (
    FORMS,
    INVALID_REQUESTS,
    STRUCTURED_HEADER,
    structured,
    structured_base64,
)
from tests.unit.agents.platforms.link_forms import LINK_FORMS

PLATFORMS = Platforms.load()


def make_stage(links: FakeLinks | None = None) -> Validation:
    found: Mapping[str, ShortLinkResolver] = {"direct": links or FakeLinks()}
    return Validation(TargetFinder(PLATFORMS, found, make_gate("resolve")), SharedState())


async def handle(record: Incoming, links: FakeLinks | None = None) -> list[Any]:
    return await collect_effects(await make_stage(links).handle(record))


def video_event(effects: list[Any]) -> ValidatedVideo:
    return body_of(only_record(effects, VALIDATED), ValidatedVideo)


# Valid requests


@pytest.mark.parametrize("form", FORMS)
async def test_every_encoding_of_a_request_yields_the_video_event(form: str) -> None:
    effects = await handle(FORMS[form])
    event = video_event(effects)
    assert event.video == VIDEO
    assert (event.job.request_id, event.job.url) == ("mine", URL)
    assert transitions(effects) == ["accepted"]
    assert not outcomes(effects)
    assert only_record(effects, VALIDATED).key == VIDEO.key.encode()


async def test_event_carries_request_trace_deadline_and_cause() -> None:
    headers = [("traceparent", TRACEPARENT.encode()), ("ce_id", b"cause-1")]
    body = {"id": "mine", "url": URL, "deadline": FUTURE.isoformat()}
    effects = await handle(request(body, headers=headers))
    for effect in effects:
        assert header(effect, "ce_correlationid") == "mine"
        assert header(effect, "ce_causationid") == "cause-1"
        assert header(effect, "ce_expirytime") == FUTURE.isoformat()
        assert (header(effect, "traceparent") or "")[3:35] == TRACE_ID


async def test_redelivered_request_yields_the_same_ids_and_keys() -> None:
    record = request({"urls": [URL, "nonsense", SHORT_URL]})
    first, second = await handle(record), await handle(record)
    identity = [(each.topic.name, each.key, header(each, "ce_id")) for each in first]
    assert identity == [(each.topic.name, each.key, header(each, "ce_id")) for each in second]
    assert len(set(identity)) == len(identity)


async def test_validation_time_is_recorded() -> None:
    event = video_event(await handle(request({"url": URL})))
    assert 0 <= event.job.timings["validation"] < 10


# Batches


async def test_batch_members_succeed_or_fail_independently() -> None:
    urls = [URL, 7, "", "https://example.com/x", URL, "u" * 5_000, None, "not a link", {"a": 1}]
    effects = await handle(request({"id": "b", "urls": urls, "attributes": {"a": "b"}}))
    accepted = [body_of(each, ValidatedVideo) for each in sent_to(effects, VALIDATED)]
    assert [event.job.request_id for event in accepted] == ["b/0", "b/4"]
    found = {each.request_id: each for each in outcomes(effects)}
    assert set(found) == {f"b/{index}" for index in (1, 2, 3, 5, 6, 7, 8)}
    for each in found.values():
        index = int(each.request_id.removeprefix("b/"))
        assert (each.batch_id, each.batch_index, each.batch_size) == ("b", index, len(urls))
        assert each.attributes == {"a": "b"}
        assert each.error.technical_details["field"] == f"$.urls[{index}]"
    assert not dead_letters(effects)


INVALID_MEMBERS: dict[str, tuple[object, type[Any], ErrorCode, str]] = {
    "a number": (7, Rejected, ErrorCode.REQUEST_INVALID, "not a text but int"),
    "null": (None, Rejected, ErrorCode.REQUEST_INVALID, "not a text but NoneType"),
    "empty": ("", Rejected, ErrorCode.REQUEST_INVALID, "empty"),
    "another host": ("https://example.com/", Rejected, ErrorCode.CONTENT_UNSUPPORTED, "example"),
    "a profile": (
        "https://www.tiktok.com/@cats",
        Rejected,
        ErrorCode.REQUEST_INVALID,
        "this is a profile, which cannot be a member of a batch",
    ),
    "too long": ("u" * 5_000, Rejected, ErrorCode.REQUEST_TOO_LARGE, "5000 characters"),
}


@pytest.mark.parametrize("name", INVALID_MEMBERS)
async def test_invalid_batch_member_is_rejected_with_a_reason(name: str) -> None:
    url, kind, code, reason = INVALID_MEMBERS[name]
    found = outcome(await handle(request({"urls": [url]})))
    assert type(found) is kind
    assert found.error.error_type is code
    assert reason in found.error.technical_details["reason"]
    assert found.attempts == 0


POST_LINK_FORMS = tuple(
    row for row in LINK_FORMS if not row.expected.startswith(("mine:", "short:https://mi.ne"))
)


async def test_every_link_form_in_a_batch_has_its_own_outcome_and_its_url() -> None:
    texts = [row.text for row in POST_LINK_FORMS]
    effects = await handle(request({"id": "b", "urls": texts}))
    events = [body_of(each, ValidatedVideo) for each in sent_to(effects, VALIDATED)]
    links = [body_of(each, PendingLink).job for each in sent_to(effects, REQUESTS)]
    assert {each.topic for each in effects if isinstance(each, Outgoing)} <= {
        *validation_stage.produces
    }
    found = {event.job.request_id: (event.job.url, event.video.key) for event in events}
    found |= {job.request_id: (job.url, "short") for job in links}
    found |= {each.request_id: (each.url, each.error.error_type) for each in outcomes(effects)}
    assert found == {
        f"b/{index}": (clip(row.text), _expected_in_a_batch(row.expected))
        for index, row in enumerate(POST_LINK_FORMS)
    }


def _expected_in_a_batch(expected: str) -> str:
    if "/" in expected and expected.startswith("tiktok:"):
        return ErrorCode.REQUEST_INVALID  # a listing, which cannot be a member
    return expected.partition(":")[0] if expected.startswith("short:") else expected


SHARED_TEXT = f"Look! {SHORT_URL}\u200b This post is shared via https://www.tiktok.com/tiktoklite"


async def test_shared_text_with_a_short_link_is_kept_unchanged() -> None:
    links = FakeLinks()
    (link_record,) = sent_to(
        await handle(request({"id": "b", "urls": [SHARED_TEXT, "x"]}), links), REQUESTS
    )
    assert links.resolved_urls == []
    event = video_event(await handle(as_incoming(link_record), links))
    assert (event.job.url, event.video) == (SHARED_TEXT, VIDEO)
    assert links.resolved_urls == [SHORT_URL]


async def test_blocked_link_of_a_shared_text_is_retried_as_the_same_request() -> None:
    record = request({"id": "mine", "url": SHARED_TEXT})
    redelivered_record = await round_trip(record, ErrorCode.RATE_LIMIT_IP_BLOCK)
    job = video_event(await handle(redelivered_record)).job
    assert (job.request_id, job.url) == ("mine", SHARED_TEXT)
    assert [each.code for each in job.attempts] == [ErrorCode.RATE_LIMIT_IP_BLOCK]


async def test_bug_in_one_member_does_not_affect_the_others() -> None:
    links = FakeLinks(RuntimeError("secret https://u:p@host.example/x?token=s3cret"))
    effects = await handle(request({"id": "b", "urls": [URL, SHORT_URL]}), links)
    assert video_event(effects).job.request_id == "b/0"
    (link_record,) = sent_to(effects, REQUESTS)
    failed = failure(await handle(as_incoming(link_record), links))
    assert (failed.job.request_id, failed.error.error_type) == ("b/1", ErrorCode.INTERNAL_BUG)
    assert "RuntimeError" in failed.error.technical_details["traceback"]
    assert "s3cret" not in str(failed)
    assert "u:p" not in str(failed)


async def test_short_links_of_a_batch_become_separate_records() -> None:
    links = FakeLinks(RuntimeError("must not be asked"))
    effects = await handle(request({"id": "b", "urls": [SHORT_URL] * 100}), links)
    sent = sent_to(effects, REQUESTS)
    assert (len(sent), len(effects)) == (100, 200)
    assert transitions(effects) == ["accepted"] * 100
    resumed = await handle(as_incoming(sent[7]))
    assert video_event(resumed).job.request_id == "b/7"
    assert video_event(resumed).job.batch == BatchMember(id="b", index=7, size=100)


async def test_batch_is_published_in_slices() -> None:
    slices = await make_stage().handle(request({"id": "b", "urls": [URL] * (2 * SLICE + 1)}))
    assert isinstance(slices, AsyncIterator)
    sizes = [len(sent_to(effects, VALIDATED)) async for effects in slices]
    assert sizes == [SLICE, SLICE, 1]


async def test_batch_cancelled_between_slices_is_not_continued() -> None:
    stage = make_stage()
    slices = await stage.handle(request({"id": "b", "urls": [URL] * (SLICE + 2)}))
    assert isinstance(slices, AsyncIterator)
    assert transitions(await anext(slices)) == ["accepted"] * SLICE
    stage._shared_state.put("cancel/b", b"{}")
    assert [type(each) for each in outcomes(await anext(slices))] == [Cancelled] * 2


# Invalid requests


@pytest.mark.parametrize("name", INVALID_REQUESTS)
async def test_invalid_json_request_is_rejected_without_a_dead_letter(name: str) -> None:
    body, field, _ = INVALID_REQUESTS[name]
    effects = await handle(request(body))
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert found.error.technical_details["field"] == field
    assert len(effects) == 1


UNDECODABLE: dict[str, Incoming] = {
    "not UTF-8": make_record(b"\xff\xfe\x00", headers=[("x", b"\xff"), ("ce_id", b"e")]),
    "not JSON": make_record(b"{oops", key=b"\xff"),
    "empty": make_record(b"", key=None),
    "no value": make_record(None),
    "nested": make_record(b"[" * 50_000),
    "two values": make_record(b"{}{}"),
    "structured, not JSON": make_record(b"oops", headers=[STRUCTURED_HEADER]),
    "large": make_record(b"x" * 1_500_000),
}


@pytest.mark.parametrize("name", UNDECODABLE)
async def test_undecodable_request_is_rejected_and_dead_lettered_unchanged(name: str) -> None:
    record = UNDECODABLE[name]
    effects = await handle(record)
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert found.request_id == record.record_id
    (dead_letter,) = dead_letters(effects)
    assert (dead_letter.key, dead_letter.value) == (record.key, record.value)
    assert dead_letter.headers[: len(record.headers)] == record.headers
    assert header(dead_letter, "clipmill_origin_topic") == "requests"
    assert header(dead_letter, "clipmill_origin_offset") == "7"
    assert len(effects) == 2


async def test_undecodable_data_of_a_valid_event_is_dead_lettered() -> None:
    effects = await handle(structured_base64(b"\xff"))
    assert isinstance(outcome(effects), Rejected)
    assert len(dead_letters(effects)) == 1


ENVELOPES: dict[str, tuple[Incoming, str]] = {
    "deadline": (
        request({"id": "mine", "url": URL}, headers=[("ce_expirytime", b"soon")]),
        "header ce_expirytime",
    ),
    "version": (
        request({"id": "mine", "url": URL}, headers=[("ce_specversion", b"0.3")]),
        "header ce_specversion",
    ),
    "batched events": (
        request(
            {"id": "mine", "url": URL},
            headers=[("content-type", b"application/cloudevents-batch+json")],
        ),
        "header content-type",
    ),
    "structured version": (
        structured({"id": "mine", "url": URL}, specversion="0.3"),
        "$.specversion",
    ),
}


@pytest.mark.parametrize("name", ENVELOPES)
async def test_invalid_envelope_is_rejected_with_the_request_id(name: str) -> None:
    record, field = ENVELOPES[name]
    effects = await handle(record)
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert (found.request_id, found.url) == ("mine", URL)
    assert found.error.technical_details["field"] == field
    assert not dead_letters(effects)


async def test_recovered_fields_of_a_rejected_request_are_in_its_outcome() -> None:
    body = {"id": "mine", "url": URL, "attributes": {"a": "b"}, "unknown": 1}
    found = outcome(await handle(request(body, headers=[("traceparent", TRACEPARENT.encode())])))
    assert (found.request_id, found.url, found.attributes) == ("mine", URL, {"a": "b"})
    assert (found.trace_id, found.attempts, found.batch_id) == (TRACE_ID, 0, None)


@pytest.mark.parametrize("size", [REQUEST_BYTES_MAX + 1, 2_000_000])
async def test_too_large_request_is_rejected_and_not_echoed(size: int) -> None:
    body = {"id": "mine", "url": URL, "padding": "x" * size}
    effects = await handle(request(body))
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert (found.request_id, found.error.error_type) == ("mine", ErrorCode.REQUEST_TOO_LARGE)
    assert len(effects) == 1
    assert largest_record_bytes(effects) < 5_000


OVERSIZED: dict[str, Incoming] = {
    "url": request({"url": "https://www.tiktok.com/" + "u" * 100_000}),
    "url of a rejected request": request({"url": "u" * 100_000, "x": 1}),
    "url after the deadline": request({"url": "u" * 100_000, "deadline": PAST.isoformat()}),
    "urls of a batch": request({"urls": ["u" * 100_000, "v" * 100_000]}),
    "url of another host": request({"url": f"https://{'a' * 60}.example/{'u' * 100_000}"}),
    "name of a field": request({"url": URL, "x" * 100_000: 1}),
    "value": request({"url": URL, "action": "x" * 100_000}),
    "id": request({"url": URL, "id": "x" * 100_000}),
    "event id": request({"url": URL}, headers=[("ce_id", b"e" * 100_000)]),
    "event type": request({"url": URL}, headers=[("ce_type", b"e" * 100_000)]),
    "deadline": request({"url": URL}, headers=[("ce_expirytime", b"9" * 100_000)]),
    "version": request({"url": URL}, headers=[("ce_specversion", b"9" * 100_000)]),
    "content type": request(
        {"url": URL}, headers=[("content-type", b"application/cloudevents" + b"x" * 100_000)]
    ),
    "trace": request({"url": URL}, headers=[("traceparent", b"0" * 100_000)]),
    "correlation": request({"url": URL}, headers=[("ce_correlationid", b"0" * 100_000)]),
    "key": request({"urls": [SHORT_URL, URL, ""]}, key=b"k" * 100_000),
}


@pytest.mark.parametrize("name", OVERSIZED)
async def test_oversized_fields_are_not_echoed(name: str) -> None:
    links = FakeLinks(ClipmillError(ErrorCode.NETWORK_DNS, "no name"))
    effects = await handle(OVERSIZED[name], links)
    assert effects
    assert largest_record_bytes(effects) < 10_000


async def test_url_that_is_valid_only_when_truncated_is_rejected() -> None:
    short = "https://www.tiktok.com/@name/video/7608826249200356630?x="
    url = short + "y" * MAX_URL_CHARACTERS
    found = outcome(await handle(request({"url": url})))
    assert found.error.error_type is ErrorCode.REQUEST_TOO_LARGE
    assert found.url == url[:MAX_URL_CHARACTERS]


# Deadlines


@pytest.mark.parametrize(
    "record",
    [
        request({"url": URL, "deadline": PAST.isoformat()}),
        request({"url": URL}, headers=[("ce_expirytime", PAST.isoformat().encode())]),
        request({"url": URL, "deadline": "0001-01-01T00:00:00+23:00"}),
        structured({"url": URL}, expirytime=PAST.isoformat()),
    ],
    ids=["request", "header", "first day", "structured"],
)
async def test_past_deadline_expires_the_request(record: Incoming) -> None:
    effects = await handle(record)
    assert isinstance(outcome(effects), Expired)
    assert not sent_to(effects, VALIDATED)


@pytest.mark.parametrize(
    "deadline", ["9999-12-31T23:59:59-23:00", "2999-01-01T00:00:00.123456+05:30"]
)
async def test_unusual_deadlines_are_kept_exactly(deadline: str) -> None:
    event = video_event(await handle(request({"url": URL, "deadline": deadline})))
    assert event.job.deadline is not None
    assert event.job.deadline.isoformat() == deadline


async def test_deadline_applies_to_all_members() -> None:
    effects = await handle(request({"urls": [URL, "x", 7], "deadline": PAST.isoformat()}))
    assert [type(each) for each in outcomes(effects)] == [Expired] * 3


# Short links


async def test_short_link_resolves_to_its_video() -> None:
    links = FakeLinks()
    effects = await handle(request({"url": SHORT_URL}), links)
    assert video_event(effects).video == VIDEO
    assert video_event(effects).job.url == SHORT_URL
    assert links.resolved_urls == [SHORT_URL]


@pytest.mark.parametrize(
    "code", [code for code in ErrorCode if code.startswith(("content.", "request."))]
)
async def test_permanent_error_of_a_short_link_is_the_outcome(code: ErrorCode) -> None:
    links = FakeLinks(ClipmillError(code, "it is so", leads_to="x"))
    effects = await handle(request({"url": SHORT_URL}), links)
    found = outcome(effects)
    assert found.error.error_type is code
    assert found.error.technical_details == {
        "reason": "it is so",
        "leads_to": "x",
        "field": "$.url",
    }
    assert len(effects) == 1


@pytest.mark.parametrize(
    "code", [code for code in ErrorCode if not code.startswith(("content.", "request."))]
)
async def test_transient_error_of_a_short_link_is_a_failure_with_the_job(code: ErrorCode) -> None:
    links = FakeLinks(ClipmillError(code, "not now", retry_after=7.0))
    effects = await handle(request({"id": "mine", "url": SHORT_URL}), links)
    found = failure(effects)
    assert (found.step, found.error.error_type, found.retry_after_seconds) == (
        "validation",
        code,
        7.0,
    )
    assert (found.record.topic, found.record.key) == ("requests", b"mine")
    assert pending_link(effects).job == found.job
    assert only_record(effects, ERRORS).key == b"mine"
    assert transitions(effects) == ["accepted"]
    assert len(effects) == 2


async def round_trip(record: Incoming, code: ErrorCode) -> Incoming:
    """Fail once; return the record that recovery and delay send back to validation."""
    links = FakeLinks(ClipmillError(code, "not now"))
    failed = await handle(record, links)
    for link_record in sent_to(failed, REQUESTS):
        failed = await handle(as_incoming(link_record), links)
    return await after_recovery(failed, make_settings())


async def after_recovery(failed: list[Any], settings: Settings) -> Incoming:
    """Return the record that recovery and delay send back to validation."""
    recovery = Recovery(
        settings,
        SharedState(),
        ErrorHandlers({}),
        uniform=lambda: 0.5,
        clock=lambda: WRITTEN_AT,
        media_hosts=MediaHostRecorder(MediaHostWaits()),
    )
    retried = await recovery.handle(as_incoming(only_record(failed, ERRORS), offset=3))
    (redelivered,) = [
        each for each in retried if isinstance(each, Outgoing) and each.topic in {REQUESTS, *DELAYS}
    ]
    if redelivered.topic is not REQUESTS:
        (due,) = await delay(as_incoming(redelivered))
        assert isinstance(due, Outgoing)
        redelivered = due
    assert redelivered.topic is REQUESTS
    return as_incoming(redelivered, offset=99)


async def test_link_is_retried_as_the_same_request() -> None:
    body = {
        "id": "b",
        "urls": [SHORT_URL],
        "attributes": {"a": "b"},
        "options": {"quality": "480p"},
        "deadline": FUTURE.isoformat(),
        "retry_of": "old",
    }
    first = request(body, headers=[("traceparent", TRACEPARENT.encode())])
    second = await round_trip(first, ErrorCode.NETWORK_DNS)
    third = await round_trip(second, ErrorCode.PLATFORM_CHANGED)
    job = video_event(await handle(third)).job
    (expected,) = [event.job for event in map(video_event, [await handle(request(body))])]
    expected = msgspec.structs.replace(
        expected, trace_id=TRACE_ID, timings=job.timings, attempts=job.attempts, parked=job.parked
    )
    assert job == expected
    assert [(each.step, each.code, each.counted) for each in job.attempts] == [
        ("validation", ErrorCode.NETWORK_DNS, True),
        ("validation", ErrorCode.PLATFORM_CHANGED, True),
    ]
    assert job.parked is None


async def test_second_attempt_has_new_event_ids() -> None:
    record = request({"id": "mine", "url": SHORT_URL})
    redelivered_record = await round_trip(record, ErrorCode.NETWORK_DNS)
    first = {header(each, "ce_id") for each in await handle(record)}
    second = {header(each, "ce_id") for each in await handle(redelivered_record)}
    assert not first & second


async def test_dead_link_after_a_retry_ends_the_same_request() -> None:
    record = request({"id": "b", "urls": ["x", SHORT_URL]})
    redelivered_record = await round_trip(record, ErrorCode.NETWORK_TIMEOUT)
    found = outcome(
        await handle(
            redelivered_record, FakeLinks(ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "gone"))
        )
    )
    assert (found.request_id, found.batch_id, found.batch_index, found.batch_size) == (
        "b/1",
        "b",
        1,
        2,
    )
    assert (found.attempts, len(found.recovery)) == (1, 1)
    assert found.error.technical_details["field"] == "$.urls[1]"


async def test_link_is_not_resolved_after_the_deadline() -> None:
    links = FakeLinks()
    job = make_job(url=SHORT_URL, deadline=PAST, attempts=(make_attempt(step="validation"),))
    found = outcome(await handle(event_record(PendingLink(job=job)), links))
    assert isinstance(found, Expired)
    assert found.attempts == 1
    assert not links.resolved_urls


async def test_spoofed_pending_link_is_rejected_under_the_record_id() -> None:
    job = make_job(request_id="victim/1", url=SHORT_URL)
    effects = await handle(event_record(PendingLink(job=job)))
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert found.request_id == "requests-0-7-1767225600000"
    assert len(effects) == 1


async def test_request_with_the_type_of_a_pending_link_is_rejected() -> None:
    record = request(
        {"id": "mine", "url": URL}, headers=[("ce_type", b"io.clipmill.link.pending.v1")]
    )
    found = outcome(await handle(record))
    assert isinstance(found, Rejected)
    assert found.request_id == "mine"


async def test_other_event_types_are_read_as_requests() -> None:
    record = request({"url": URL}, headers=[("ce_type", b"io.clipmill.video.validated.v1")])
    assert video_event(await handle(record)).video == VIDEO


# Bugs


async def test_bug_ends_every_job_of_the_record() -> None:
    record = request({"id": "b", "urls": [URL, 7], "attributes": {"a": "b"}})
    effects = list(on_bug(record, RuntimeError("at https://h.example/?sig=s3cret")))
    found = outcomes(effects)
    assert [each.request_id for each in found] == ["b/0", "b/1"]
    assert {each.error.error_type for each in found} == {ErrorCode.INTERNAL_BUG}
    assert all(each.attributes == {"a": "b"} for each in found)
    assert "s3cret" not in str(found)
    assert len(dead_letters(effects)) == 1


async def test_bug_with_a_pending_link_ends_its_job() -> None:
    attempts: tuple[Attempt, ...] = (make_attempt(step="validation"),)
    record = event_record(
        PendingLink(job=member_job(attempts=attempts, deadline=seconds_from_now(60)))
    )
    found = outcome(on_bug(record, RuntimeError("oops")))
    assert (found.request_id, found.batch_id, found.attempts) == ("b1/1", "b1", 1)


@pytest.mark.parametrize("name", UNDECODABLE)
async def test_bug_with_an_undecodable_request_has_an_outcome(name: str) -> None:
    effects = on_bug(UNDECODABLE[name], RuntimeError("oops"))
    assert outcome(effects).request_id == "requests-0-7-1767225600000"
    assert len(dead_letters(effects)) == 1


async def test_bug_of_the_reading_has_the_attributes_of_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("agents.validation.requested_jobs.read_jobs", fail)
    record = request({"id": "mine", "url": URL, "attributes": {"a": "b"}})
    found = outcome(on_bug(record, RuntimeError("oops")))
    assert (found.request_id, found.attributes) == ("mine", {"a": "b"})


async def test_bug_with_a_structured_event_has_the_request_id() -> None:
    found = outcome(on_bug(structured({"id": "mine", "url": URL}), RuntimeError("oops")))
    assert (found.request_id, found.url) == ("mine", URL)


@pytest.mark.parametrize("timestamp", [-1.0, 1e30, float("nan")])
async def test_wrong_record_timestamp_does_not_fail_the_request(timestamp: float) -> None:
    record = make_record(encode({"url": URL}), timestamp=timestamp)
    assert video_event(await handle(record)).video == VIDEO
    undecodable = make_record(b"oops", timestamp=timestamp)
    assert isinstance(outcome(await handle(undecodable)), Rejected)


# Outbound gate


async def test_cached_link_is_not_resolved_again() -> None:
    links = FakeLinks(RuntimeError("must not be asked"))
    links.cached = lambda _link: VIDEO  # type: ignore[method-assign,assignment]
    assert video_event(await handle(request({"url": SHORT_URL}), links)).video == VIDEO
    assert links.resolved_urls == []


async def test_link_is_resolved_over_another_egress_and_reported() -> None:
    context, sent = make_context(make_settings())
    links = {"a": FakeLinks(), "b": FakeLinks()}
    gate = OutboundGate("resolve", tuple(links), context, step="validation")
    job = make_job(url=SHORT_URL, avoid_egress=("a",))
    stage = Validation(TargetFinder(PLATFORMS, links, gate), SharedState())
    effects = await collect_effects(await stage.handle(event_record(PendingLink(job=job))))
    assert video_event(effects).video == VIDEO
    assert (links["a"].resolved_urls, links["b"].resolved_urls) == ([], [SHORT_URL])
    (reported,) = [body_of(each, NetworkAttempt) for each in sent_to(sent, ATTEMPTS)]
    assert (reported.name, reported.subject) == ("tiktok:resolve:b", SHORT_URL)


async def test_blocked_link_is_retried_over_another_egress_at_once() -> None:
    egresses = ("a", "b")
    blocked, other = by_preference(egresses, (), SHORT_URL)
    block = ClipmillError(ErrorCode.RATE_LIMIT_IP_BLOCK, "vm.tiktok.com answered 200")
    links = {blocked: FakeLinks(block), other: FakeLinks()}
    context, _ = make_context(make_settings())
    gate = OutboundGate("resolve", egresses, context, step="validation")
    stage = Validation(TargetFinder(PLATFORMS, links, gate), SharedState())
    proxies = {egress: f"http://{egress}.test" for egress in egresses}
    settings = make_settings(egress=EgressSettings(proxies=proxies))
    failed = await collect_effects(await stage.handle(request({"id": "mine", "url": SHARED_TEXT})))
    redelivered_record = await after_recovery(failed, settings)
    job = video_event(await collect_effects(await stage.handle(redelivered_record))).job
    assert (job.request_id, job.url, job.avoid_egress) == ("mine", SHARED_TEXT, (blocked,))
    assert [each.strategy for each in job.attempts] == ["other_egress"]
    assert not job.attempts[0].wait_seconds
    assert (links[blocked].resolved_urls, links[other].resolved_urls) == ([SHORT_URL], [SHORT_URL])


async def test_link_behind_an_open_breaker_is_not_resolved() -> None:
    context, _ = make_context(make_settings())
    state = BreakerState(
        platform="tiktok",
        operation="resolve",
        egress="direct",
        state="forced_open",
        since=WRITTEN_AT,
    )
    context.shared_state.put(f"breaker/{state.name}", encode(state))
    links = FakeLinks()
    stage = Validation(
        TargetFinder(PLATFORMS, {"direct": links}, make_gate("resolve", context)), SharedState()
    )
    found = failure(await collect_effects(await stage.handle(request({"url": SHORT_URL}))))
    assert (found.permitted, found.operation, found.egress) == (False, "resolve", "direct")
    assert links.resolved_urls == []


async def test_request_cancelled_during_resolution_ends() -> None:
    shared_state, started = SharedState(), asyncio.Event()

    class BlockingLinks(FakeLinks):
        async def resolve(self, link: ShortLink, platform: Platform) -> VideoRef:
            assert link.url
            assert platform
            started.set()
            await asyncio.Event().wait()
            return VIDEO

    stage = Validation(
        TargetFinder(PLATFORMS, {"direct": BlockingLinks()}, make_gate("resolve")), shared_state
    )
    task = asyncio.create_task(stage.handle(request({"id": "mine", "url": SHORT_URL})))
    await started.wait()
    shared_state.put("cancel/mine", b"{}")
    assert isinstance(outcome(await collect_effects(await asyncio.wait_for(task, 1))), Cancelled)


REPLAYED = (("clipmill_replays", b"1"),)


async def test_replayed_request_gets_its_own_id() -> None:
    effects = await handle(request({"id": "mine", "url": URL}, headers=REPLAYED))
    event = body_of(only_record(effects, VALIDATED), ValidatedVideo)
    assert (event.job.request_id, event.job.retry_of) == ("mine/replay-1", "mine")


async def test_replayed_link_can_be_delayed_again() -> None:
    links = FakeLinks(ClipmillError(ErrorCode.NETWORK_DNS, "no such name"))
    effects = await handle(request({"id": "mine", "url": SHORT_URL}, headers=REPLAYED), links)
    redelivered = event_record(pending_link(effects))
    effects = await handle(redelivered)
    event = body_of(only_record(effects, VALIDATED), ValidatedVideo)
    assert (event.job.request_id, event.job.replays) == ("mine/replay-1", 1)


async def test_replayed_request_that_fails_again_is_rejected_under_its_own_id() -> None:
    reported = outcome(await handle(request({"id": "mine", "url": 5}, headers=REPLAYED)))
    assert isinstance(reported, Rejected)
    assert reported.request_id == "mine/replay-1"
