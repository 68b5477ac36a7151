from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agents.extraction.agent import stage
from agents.extraction.listings import (
    DEFAULT_LIMIT,
    REQUEST_IDS_MAX,
    TABLE,
    ListingRow,
    ListingWork,
    member_of,
)
from agents.pipeline.step import bug_handler, step_handler
from agents.platforms.registry import Platforms
from schemas.audit import AuditRecord
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ValidatedListing, ValidatedVideo
from schemas.job import BatchMember, Job, PageUse
from schemas.listing import ListedPost, Listing, ListingRef
from schemas.request import Options
from streams.cluster.shared_state import SharedState
from streams.records import Effect, Flush, Outgoing, TableWrite
from streams.topics import AUDIT, VALIDATED
from tests.unit.agents.builders import (
    ENGINE,
    FUTURE,
    WRITTEN_AT,
    Clock,
    apply_writes,
    body_of,
    event_record,
    failure,
    header,
    make_attempt,
    make_job,
    make_table,
    only_record,
    outcome,
    sent_to,
    writes,
)

URL = "https://www.tiktok.com/@name"
PROFILE = ListingRef(platform="tiktok", kind="profile", id="name", url=URL)
TTL_SECONDS = 300.0
RETENTION_SECONDS = 5_000.0


def posts(count: int) -> tuple[ListedPost, ...]:
    ids = (str(7_000_000_000_000_000_001 + number) for number in range(count))
    return tuple(ListedPost(id=each, url=f"{URL}/video/{each}", title="a clip") for each in ids)


def listing_of(count: int, *, complete: bool = True) -> Listing:
    return Listing(
        platform="tiktok",
        kind="profile",
        id="name",
        url=URL,
        title="name",
        entries=posts(count),
        complete=complete,
    )


class FakeReader:
    """Returns the same listing for every read."""

    def __init__(self, found: Listing | ClipmillError) -> None:
        self.found = found
        self.limits: list[int] = []

    async def list_posts(self, listing: ListingRef, job: Job, limit: int) -> Listing:
        assert (listing, job.url) == (PROFILE, URL)
        self.limits.append(limit)
        if isinstance(self.found, ClipmillError):
            raise self.found
        return self.found


class ListingHarness:
    def __init__(self, found: Listing | ClipmillError) -> None:
        self.reader: Any = FakeReader(found)
        self.table = make_table(TABLE)
        self.clock = Clock(WRITTEN_AT.timestamp())

    async def run(self, **changes: Any) -> list[Effect]:
        work = ListingWork(
            Platforms.load(),
            self.reader,
            self.table.get,
            ttl_seconds=TTL_SECONDS,
            retention_seconds=RETENTION_SECONDS,
            versions=lambda: ENGINE,
            clock=self.clock,
        )
        event = ValidatedListing(job=make_job(url=URL, **changes), listing=PROFILE)
        handle = step_handler("extraction", ValidatedListing, work.work, SharedState())
        effects = list(await handle(event_record(event)))
        apply_writes(self.table, effects)
        return effects


def member_events(effects: list[Effect]) -> list[ValidatedVideo]:
    return [body_of(each, ValidatedVideo) for each in sent_to(effects, VALIDATED)]


async def test_list_result_contains_the_posts() -> None:
    harness = ListingHarness(listing_of(3))
    found = outcome(await harness.run(action="list"))
    assert (found.video, found.files, found.members) == (None, (), 0)
    assert found.listing == listing_of(3)
    assert (found.cache, found.engine, found.attempts) == ("miss", ENGINE, 1)
    assert harness.reader.limits == [DEFAULT_LIMIT]


async def test_list_publishes_no_members() -> None:
    assert member_events(await ListingHarness(listing_of(3)).run(action="list")) == []


@pytest.mark.parametrize("action", ["download", "info"])
async def test_posts_become_batch_members(action: Any) -> None:
    options = Options(limit=3, quality="720p")
    effects = await ListingHarness(listing_of(3)).run(
        action=action, options=options, deadline=FUTURE, attributes={"a": "b"}, priority=9
    )
    found = member_events(effects)
    assert [each.video.id for each in found] == [each.id for each in posts(3)]
    jobs = [each.job for each in found]
    assert [job.request_id for job in jobs] == ["r1/0", "r1/1", "r1/2"]
    assert [job.batch for job in jobs] == [BatchMember(id="r1", index=n, size=3) for n in range(3)]
    for job in jobs:
        assert (job.action, job.options) == (action, Options(quality="720p"))
        assert (job.deadline, job.attributes, job.priority) == (FUTURE, {"a": "b"}, 9)
    assert outcome(effects).members == 3
    written = {each.topic for each in effects if isinstance(each, Outgoing)}
    assert written <= set(stage.produces)


async def test_members_are_audited_as_accepted() -> None:
    effects = await ListingHarness(listing_of(2)).run(options=Options(limit=2))
    audits = [body_of(each, AuditRecord) for each in sent_to(effects, AUDIT)]
    assert [(each.request_id, each.transition) for each in audits] == [
        ("r1", "finished"),
        ("r1/0", "accepted"),
        ("r1/1", "accepted"),
    ]
    assert [each.job and each.job.url for each in audits[1:]] == [each.url for each in posts(2)]


async def test_redelivery_publishes_the_same_ids() -> None:
    harness = ListingHarness(listing_of(2))
    first = await harness.run(options=Options(limit=2))
    again = await harness.run(options=Options(limit=2))
    for topic in (VALIDATED, AUDIT):
        ids = [[header(each, "ce_id") for each in sent_to(run, topic)] for run in (first, again)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("elapsed", [0, TTL_SECONDS + 1])
@pytest.mark.parametrize("limit", [2, 5])
@pytest.mark.parametrize("refresh", [False, True])
async def test_redelivered_listing_publishes_the_same_posts(
    elapsed: float, limit: int, refresh: bool
) -> None:
    harness, options = (
        ListingHarness(listing_of(2, complete=False)),
        Options(limit=limit, refresh=refresh),
    )
    first = await harness.run(options=options)
    harness.reader.found = listing_of(9)
    harness.clock.now += elapsed
    again = await harness.run(options=options)
    assert member_events(again) == member_events(first)
    assert outcome(again).cache == "hit"
    assert not writes(again)


@pytest.mark.parametrize(
    ("known", "complete", "limit", "is_read"),
    [
        pytest.param(5, False, 5, False, id="enough"),
        pytest.param(5, False, 3, False, id="more than enough"),
        pytest.param(5, False, 6, True, id="too few"),
        pytest.param(5, True, 100, False, id="all there are"),
    ],
)
async def test_cached_listing_is_served_when_long_enough(
    known: int, complete: bool, limit: int, is_read: bool
) -> None:
    harness = ListingHarness(listing_of(known, complete=complete))
    await harness.run(action="list", options=Options(limit=known))
    other = {"request_id": "r2", "action": "list", "options": Options(limit=limit)}
    found = outcome(await harness.run(**other))
    assert (len(harness.reader.limits) == 2) is is_read
    assert len(found.listing.entries) == min(known, limit)


@pytest.mark.parametrize("again", ["r1", "r2"])
async def test_served_request_gets_the_same_listing_on_redelivery(again: str) -> None:
    harness, options = ListingHarness(listing_of(3)), Options(limit=2)
    first = {name: await harness.run(request_id=name, options=options) for name in ("r1", "r2")}
    assert len(harness.reader.limits) == 1
    harness.reader.found = Listing(platform="tiktok", kind="profile", id="name", url=URL)
    harness.clock.now += TTL_SECONDS + 1
    redelivered = await harness.run(request_id=again, options=options)
    assert member_events(redelivered) == member_events(first[again])
    assert not writes(redelivered)


async def test_list_request_is_not_recorded_in_the_row() -> None:
    harness = ListingHarness(listing_of(3))
    await harness.run(action="list")
    assert not writes(await harness.run(request_id="r2", action="list"))


async def test_recorded_request_ids_are_bounded() -> None:
    harness, options = ListingHarness(listing_of(1)), Options(limit=1)
    for number in range(REQUEST_IDS_MAX + 5):
        await harness.run(request_id=f"n{number}", options=options)
    recorded = decode(harness.table.get(PROFILE.key) or b"", ListingRow).request_ids
    assert recorded == tuple(f"n{number}" for number in range(5, REQUEST_IDS_MAX + 5))


async def test_partial_listing_is_not_complete() -> None:
    harness = ListingHarness(listing_of(5))
    await harness.run(action="list")
    found = outcome(await harness.run(request_id="r2", action="list", options=Options(limit=2)))
    assert (len(found.listing.entries), found.listing.complete) == (2, False)


@pytest.mark.parametrize("elapsed", [TTL_SECONDS, TTL_SECONDS + 1])
async def test_listing_expires_after_its_ttl(elapsed: float) -> None:
    harness = ListingHarness(listing_of(2))
    await harness.run(action="list")
    harness.clock.now += elapsed
    assert outcome(await harness.run(request_id="r2", action="list")).cache == "miss"


async def test_listing_from_a_future_clock_is_not_served() -> None:
    harness = ListingHarness(listing_of(2))
    await harness.run(action="list")
    harness.clock.now -= 7_200
    assert outcome(await harness.run(request_id="r2", action="list")).cache == "miss"


async def test_refresh_reads_the_listing_again() -> None:
    harness = ListingHarness(listing_of(2))
    await harness.run(action="list")
    await harness.run(request_id="r2", action="list", options=Options(refresh=True))
    assert len(harness.reader.limits) == 2


async def test_undecodable_row_is_a_miss() -> None:
    harness = ListingHarness(listing_of(2))
    apply_writes(harness.table, [TableWrite(TABLE, PROFILE.key, b"\xff")])
    effects = await harness.run(action="list")
    (row,) = writes(effects)
    assert decode(row.value or b"", ListingRow).listing == listing_of(2)


async def test_posts_above_the_limit_are_dropped() -> None:
    effects = await ListingHarness(listing_of(9)).run(options=Options(limit=4))
    assert len(member_events(effects)) == outcome(effects).members == 4


async def test_empty_profile_completes_without_members() -> None:
    effects = await ListingHarness(listing_of(0)).run(options=Options(limit=4))
    assert (outcome(effects).members, member_events(effects)) == (0, [])


async def test_failure_has_the_listing_as_its_subject() -> None:
    error = ClipmillError(ErrorCode.CONTENT_PRIVATE, "private")
    found = failure(await ListingHarness(error).run(action="list"))
    assert (found.error.error_type, found.subject) == (ErrorCode.CONTENT_PRIVATE, PROFILE.key)
    assert found.engine == ENGINE
    assert decode(found.record.value, ValidatedListing).listing == PROFILE


def test_bug_has_the_listing_as_its_subject() -> None:
    event = ValidatedListing(job=make_job(url=URL), listing=PROFILE)
    on_bug = bug_handler("extraction", ValidatedListing)
    assert failure(list(on_bug(event_record(event), ValueError("x")))).subject == PROFILE.key


def test_member_keeps_request_fields_and_drops_processing_state() -> None:
    job = make_job(
        options=Options(limit=2, refresh=True),
        authenticate=True,
        retry_of="r0",
        timings={"validation": 1.0},
        avoid_egress=("a",),
    )
    member = member_of(job, posts(1)[0], 0, 1)
    assert (member.authenticate, member.retry_of, member.replays) == (True, "r0", 0)
    assert (member.timings, member.attempts, member.avoid_egress) == ({}, (), ())
    assert member.options == Options(refresh=True)
    assert member.received_at - job.received_at == timedelta(0)


async def test_row_has_a_ttl_and_a_retention() -> None:
    effects = await ListingHarness(listing_of(1)).run(action="list")
    (row,) = writes(effects)
    known = decode(row.value or b"", ListingRow)
    assert (row.table, row.key, known.request_ids) == (TABLE, PROFILE.key, ("r1",))
    assert known.fresh_until == WRITTEN_AT.timestamp() + TTL_SECONDS
    assert known.expires_at == WRITTEN_AT.timestamp() + RETENTION_SECONDS
    assert encode(known) == row.value
    assert only_record(effects, AUDIT).key == b"r1"


async def test_row_is_flushed_before_the_members() -> None:
    effects = await ListingHarness(listing_of(2)).run(options=Options(limit=2))
    assert isinstance(effects[0], TableWrite)
    assert isinstance(effects[1], Flush)
    assert not any(isinstance(each, TableWrite) for each in effects[2:])


@pytest.mark.parametrize("refresh", [True, False])
def test_members_keep_the_refresh_option_of_the_client(refresh: bool) -> None:
    attempt = msgspec.structs.replace(make_attempt(), changed={"cookies": "none -> the platform's"})
    page = PageUse(outdated=True)
    job = make_job(options=Options(refresh=refresh), attempts=(attempt,), page=page)
    member = member_of(job, posts(1)[0], 0, 1)
    assert (member.options.refresh, member.page) == (refresh, PageUse())


def test_replayed_members_have_their_own_ids() -> None:
    listing = make_job(options=Options(limit=3)).as_replay(1, WRITTEN_AT)
    members = [member_of(listing, post, n, 3) for n, post in enumerate(posts(3))]
    again = [each.as_replay(2, WRITTEN_AT) for each in members]
    names = [f"r1/replay-1/{n}/replay-2" for n in range(3)]
    assert [each.request_id for each in again] == names
    assert [each.retry_of for each in again] == [each.request_id for each in members]
