"""Claims of requests and events, for any content."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.pipeline.events import EVENTS_BY_KIND, Event, send_event
from agents.pipeline.request_claims import (
    SLICE,
    claim_of_extracted,
    claim_of_request,
    claim_of_selected,
    claim_of_validated,
    kind_of,
)
from schemas.events import PendingLink, ValidatedListing, ValidatedVideo
from schemas.listing import ListingRef
from streams.claims import Claim
from streams.envelope import TYPE_PREFIX
from streams.priority_queue import DEFAULT_RANK, rank_of
from streams.topics import AUDIT, EXTRACTED, SELECTED, VALIDATED
from tests.unit.agents.builders import (
    URL,
    as_incoming,
    event_record,
    extracted,
    make_job,
    make_record,
    member_job,
    request,
    selected,
    validated,
)
from tests.unit.agents.pipeline.test_request_parsing import structured, structured_base64

DOWNLOAD = (VALIDATED, EXTRACTED, SELECTED, AUDIT)
INFO = (VALIDATED, AUDIT)


@pytest.mark.parametrize(
    ("body", "claim"),
    [
        ({"url": URL}, Claim(DEFAULT_RANK, DOWNLOAD)),
        (
            {"url": URL, "id": "a", "priority": 9, "action": "info"},
            Claim(rank_of(9, in_batch=False), INFO, request="a"),
        ),
        (
            {"urls": [URL] * 1_000, "id": "b", "priority": 0},
            Claim(rank_of(0, in_batch=True), DOWNLOAD, SLICE, "b"),
        ),
        ({"urls": [URL, 7, {}]}, Claim(rank_of(5, in_batch=True), DOWNLOAD, 3)),
        ({"url": URL, "action": "list"}, Claim(DEFAULT_RANK, INFO)),
        ({"url": URL, "unknown": [1]}, Claim(DEFAULT_RANK, DOWNLOAD)),
        ({"url": URL, "priority": "high"}, Claim(DEFAULT_RANK, (AUDIT,))),
        ([], Claim(DEFAULT_RANK, (AUDIT,))),
    ],
)
def test_request_claims_its_rank_and_all_topics_of_its_path(body: Any, claim: Claim) -> None:
    assert claim_of_request(request(body)) == claim


def test_byte_order_mark_and_integer_id_keep_the_priority() -> None:
    claim = claim_of_request(
        make_record(b"\xef\xbb\xbf" + b'{"id": 42, "url": "x", "priority": 9}')
    )
    assert (claim.rank, claim.request) == (rank_of(9, in_batch=False), "42")


def test_claim_is_read_from_a_structured_event() -> None:
    body = {"url": URL, "id": "a", "priority": 9}
    for record in (structured(body), structured_base64(msgspec.json.encode(body))):
        assert claim_of_request(record) == Claim(rank_of(9, in_batch=False), DOWNLOAD, request="a")


@pytest.mark.parametrize(("action", "path"), [("download", DOWNLOAD), ("info", INFO)])
def test_batch_link_claims_by_its_job(action: Any, path: Any) -> None:
    link = PendingLink(job=member_job(action=action, priority=7))
    found = claim_of_request(as_incoming(send_event(link, "test", None)))
    assert found == Claim(rank_of(7, in_batch=True), path, request=link.job.request_id)


def test_each_step_claims_the_topics_of_the_later_steps() -> None:
    rank = rank_of(7, in_batch=False)
    steps: list[tuple[Any, Any, Any]] = [
        (claim_of_validated, validated(priority=7), (EXTRACTED, SELECTED, AUDIT)),
        (claim_of_extracted, extracted(priority=7), (SELECTED, AUDIT)),
        (claim_of_selected, selected(priority=7), (AUDIT,)),
    ]
    for claim_of, event, path in steps:
        assert claim_of(as_incoming(send_event(event, "test", None))) == Claim(
            rank, path, request="r1"
        )


def test_event_that_ends_at_extraction_claims_the_audit_topic_only() -> None:
    info = validated(action="info")
    listing = ValidatedListing(
        job=make_job(action="download"),
        listing=ListingRef(platform="tiktok", kind="profile", id="x", url=URL),
    )
    assert claim_of_validated(event_record(info)).path == (AUDIT,)
    assert claim_of_validated(event_record(listing)).path == (AUDIT,)


@given(st.binary() | st.none(), st.sampled_from(["", "application/cloudevents+json", "\xff"]))
def test_any_bytes_give_a_claim(value: bytes | None, content_type: str) -> None:
    record = make_record(value, headers=[("content-type", content_type.encode("latin-1"))])
    for claim_of in (claim_of_request, claim_of_validated):
        assert 0 <= claim_of(record).rank < 20


@pytest.mark.parametrize("value", [b"[" * 500_000, b'{"urls":' * 100_000, b'{"id": "\xff"}'])
def test_hostile_bytes_give_a_claim(value: bytes) -> None:
    assert claim_of_request(make_record(value)).path == (AUDIT,)


@pytest.mark.parametrize(("name", "kind"), EVENTS_BY_KIND.items())
def test_kind_is_derived_from_the_event_type(name: str, kind: type[Event]) -> None:
    record = msgspec.structs.replace(
        make_record(b""), headers=(("ce_type", f"{TYPE_PREFIX}{name}".encode()),)
    )
    assert kind_of(record) is kind


def test_kind_of_an_event_record() -> None:
    assert kind_of(event_record(validated())) is ValidatedVideo
