import msgspec
import pytest

from agents.ledger.batch_records import introduce_batch, report_member
from agents.pipeline.events import audit, propose_result
from agents.pipeline.results import listed
from schemas.audit import MemberOutcome
from schemas.codec import decode
from schemas.listing import Listing
from streams.history import Entry, created_at, related_ids
from streams.records import Outgoing
from tests.unit.agents.builders import ENGINE, PAST, TRACE_ID, make_job, member_job

PROFILE = Listing(platform="tiktok", kind="profile", id="someone", url="https://a/@someone")
DECIDED = MemberOutcome(
    index=1, status="completed", finished_at=PAST, size=3, received_at=PAST, trace_id=TRACE_ID
)


def outcome_of_listing(members: int) -> Outgoing:
    job = make_job(request_id="b1")
    outcome = listed(job, PROFILE, cache="miss", engine=ENGINE, members=members)
    return propose_result(job, "extraction", outcome, None)


@pytest.mark.parametrize(
    ("record", "members"),
    [
        (introduce_batch(member_job(0, size=3), "ledger", None), 3),
        (report_member("b1", DECIDED, "ledger", "cause"), 3),
        (report_member("b1", msgspec.structs.replace(DECIDED, size=0), "ledger", "cause"), 0),
        (outcome_of_listing(members=3), 3),
        (outcome_of_listing(members=0), 0),
        (audit(make_job(request_id="b1"), "validation", "accepted", None), 0),
        (audit(member_job(0, size=3), "validation", "accepted", None), 0),
    ],
    ids=[
        "introduction of a batch",
        "end of a member",
        "end of a member of an unknown batch",
        "end of a listing with members",
        "end of a listing without",
        "a single request",
        "a member, not its batch",
    ],
)
def test_audit_records_of_batches_name_their_members(record: Outgoing, members: int) -> None:
    entry = decode(record.value or b"", Entry)
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
def test_the_next_replay_of_a_request_may_have_records(request_id: str, replay: str) -> None:
    assert list(related_ids([Entry(request_id)])) == [replay]


def test_the_replays_of_members_may_have_records() -> None:
    introduction = introduce_batch(member_job(0, size=2), "ledger", None)
    found = set(related_ids([decode(introduction.value or b"", Entry)]))
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
def test_a_default_id_names_the_time_of_its_request(
    request_id: str, milliseconds: int | None
) -> None:
    assert created_at(request_id) == milliseconds
