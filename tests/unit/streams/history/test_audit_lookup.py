import msgspec
import pytest

from agents.ledger.events import introduce_batch, report_member
from agents.pipeline.events import audit, propose_result
from agents.pipeline.results import listing_result
from schemas.audit import MemberOutcome
from schemas.codec import decode
from schemas.listing import Listing
from streams.history.audit_lookup import HistoryEntry, created_at, related_ids
from streams.records import Outgoing
from tests.unit.agents.builders import ENGINE, PAST, TRACE_ID, make_job, member_job

PROFILE = Listing(platform="tiktok", kind="profile", id="someone", url="https://a/@someone")
DECIDED = MemberOutcome(
    index=1, status="completed", finished_at=PAST, size=3, received_at=PAST, trace_id=TRACE_ID
)


def listing_outcome(members: int) -> Outgoing:
    job = make_job(request_id="b1")
    outcome = listing_result(job, PROFILE, cache="miss", engine=ENGINE, members=members)
    return propose_result(job, "extraction", outcome, None)


@pytest.mark.parametrize(
    ("record", "members"),
    [
        (introduce_batch(member_job(0, size=3), "ledger", None), 3),
        (report_member("b1", DECIDED, "ledger", "cause"), 3),
        (report_member("b1", msgspec.structs.replace(DECIDED, size=0), "ledger", "cause"), 0),
        (listing_outcome(members=3), 3),
        (listing_outcome(members=0), 0),
        (audit(make_job(request_id="b1"), "validation", "accepted", None), 0),
        (audit(member_job(0, size=3), "validation", "accepted", None), 0),
    ],
    ids=[
        "batch introduction",
        "member outcome",
        "member outcome, batch unknown",
        "listing outcome with members",
        "listing outcome without members",
        "single request",
        "batch member, not its batch",
    ],
)
def test_audit_record_of_a_batch_names_its_members(record: Outgoing, members: int) -> None:
    entry = decode(record.value or b"", HistoryEntry)
    assert entry.members == members
    expected = {f"{entry.request_id}/{place}" for place in range(members)}
    assert {each for each in related_ids([entry]) if "replay" not in each} == expected


@pytest.mark.parametrize(
    ("request_id", "replay"),
    [
        ("r1", "r1/replay-1"),
        ("b/3", "b/3/replay-1"),
        ("r1/replay-1", "r1/replay-2"),
        ("b/3/replay-9", "b/3/replay-10"),
    ],
)
def test_next_replay_of_a_request_is_related(request_id: str, replay: str) -> None:
    assert list(related_ids([HistoryEntry(request_id)])) == [replay]


def test_replays_of_batch_members_are_related() -> None:
    introduction = introduce_batch(member_job(0, size=2), "ledger", None)
    found = set(related_ids([decode(introduction.value or b"", HistoryEntry)]))
    replays = {"b1/replay-1", "b1/0/replay-1", "b1/1/replay-1"}
    assert found == {"b1/0", "b1/1"} | replays


@pytest.mark.parametrize(
    ("request_id", "milliseconds"),
    [
        ("requests-1-3-1795893600123", 1_795_893_600_123),
        ("commands-0-12-1795893600123", 1_795_893_600_123),
        ("requests-1-3-1795893600123/17", 1_795_893_600_123),
        ("requests-1-3-1795893600123/17/replay-1", 1_795_893_600_123),
        ("requests-1-3-00000000deadbeef", None),
        ("my-requests-1-3-1795893600123", None),
        ("requests-1-3-1795893600123-1", None),
        ("r1", None),
        ("", None),
    ],
)
def test_generated_id_contains_the_timestamp_of_its_request(
    request_id: str, milliseconds: int | None
) -> None:
    assert created_at(request_id) == milliseconds
