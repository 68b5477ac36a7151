from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agents.extraction.listings import (
    LISTED,
    NOTED_MAX,
    TABLE,
    KnownListing,
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
from streams.records import Effect, Flush, TableWrite
from streams.topics import AUDIT, VALIDATED
from tests.unit.agents.builders import (
    ENGINE,
    FUTURE,
    WRITTEN_AT,
    Clock,
    body_of,
    event_record,
    failure,
    header,
    make_attempt,
    make_job,
    make_table,
    only,
    outcome,
    sent_to,
    show,
    writes,
)

URL = "https://www.tiktok.com/@name"
PROFILE = ListingRef(platform="tiktok", kind="profile", id="name", url=URL)
LIFE = 300.0
KEPT = 5_000.0


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
    """Lists the first posts of a profile."""

    def __init__(self, found: Listing | ClipmillError) -> None:
        self.found = found
        self.limits: list[int] = []

    async def list_posts(self, listing: ListingRef, job: Job, limit: int) -> Listing:
        assert (listing, job.url) == (PROFILE, URL)
        self.limits.append(limit)
        if isinstance(self.found, ClipmillError):
            raise self.found
        return self.found


class Kit:
    def __init__(self, found: Listing | ClipmillError) -> None:
        self.reader: Any = FakeReader(found)
        self.table = make_table(TABLE)
        self.clock = Clock(WRITTEN_AT.timestamp())

    async def run(self, **changes: Any) -> list[Effect]:
        work = ListingWork(
            Platforms.load(),
            self.reader,
            self.table.get,
            life_seconds=LIFE,
            kept_seconds=KEPT,
            versions=lambda: ENGINE,
            clock=self.clock,
        )
        event = ValidatedListing(job=make_job(url=URL, **changes), listing=PROFILE)
        handle = step_handler("extraction", ValidatedListing, work.work, SharedState())
        effects = list(await handle(event_record(event)))
        show(self.table, effects)
        return effects


def members(effects: list[Effect]) -> list[ValidatedVideo]:
    return [body_of(each, ValidatedVideo) for each in sent_to(effects, VALIDATED)]


async def test_a_list_is_answered_with_the_posts() -> None:
    kit = Kit(listing_of(3))
    found = outcome(await kit.run(action="list"))
    assert (found.video, found.files, found.members) == (None, (), 0)
    assert found.listing == listing_of(3)
    assert (found.cache, found.engine, found.attempts) == ("miss", ENGINE, 1)
    assert kit.reader.limits == [LISTED]


async def test_a_list_makes_no_requests() -> None:
    assert members(await Kit(listing_of(3)).run(action="list")) == []


@pytest.mark.parametrize("action", ["download", "info"])
async def test_posts_that_are_wanted_become_members(action: Any) -> None:
    options = Options(limit=3, quality="720p")
    effects = await Kit(listing_of(3)).run(
        action=action, options=options, deadline=FUTURE, attributes={"a": "b"}, priority=9
    )
    found = members(effects)
    assert [each.video.id for each in found] == [each.id for each in posts(3)]
    jobs = [each.job for each in found]
    assert [job.request_id for job in jobs] == ["r1/0", "r1/1", "r1/2"]
    assert [job.batch for job in jobs] == [BatchMember(id="r1", index=n, size=3) for n in range(3)]
    for job in jobs:
        assert (job.action, job.options) == (action, Options(quality="720p"))
        assert (job.deadline, job.attributes, job.priority) == (FUTURE, {"a": "b"}, 9)
    assert outcome(effects).members == 3


async def test_members_are_introduced_to_the_ledger() -> None:
    effects = await Kit(listing_of(2)).run(options=Options(limit=2))
    told = [body_of(each, AuditRecord) for each in sent_to(effects, AUDIT)]
    assert [(each.request_id, each.transition) for each in told] == [
        ("r1", "finished"),
        ("r1/0", "accepted"),
        ("r1/1", "accepted"),
    ]
    assert [each.job and each.job.url for each in told[1:]] == [each.url for each in posts(2)]


async def test_copies_have_the_same_ids() -> None:
    kit = Kit(listing_of(2))
    first = await kit.run(options=Options(limit=2))
    again = await kit.run(options=Options(limit=2))
    for topic in (VALIDATED, AUDIT):
        ids = [[header(each, "ce_id") for each in sent_to(run, topic)] for run in (first, again)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("passed", [0, LIFE + 1])
@pytest.mark.parametrize("limit", [2, 5])
@pytest.mark.parametrize("refresh", [False, True])
async def test_work_that_is_done_again_finds_the_same_posts(
    passed: float, limit: int, refresh: bool
) -> None:
    kit, options = Kit(listing_of(2, complete=False)), Options(limit=limit, refresh=refresh)
    first = await kit.run(options=options)
    kit.reader.found = listing_of(9)
    kit.clock.now += passed
    again = await kit.run(options=options)
    assert members(again) == members(first)
    assert outcome(again).cache == "hit"
    assert not writes(again)


@pytest.mark.parametrize(
    ("known", "complete", "limit", "asked"),
    [
        pytest.param(5, False, 5, False, id="enough"),
        pytest.param(5, False, 3, False, id="more than enough"),
        pytest.param(5, False, 6, True, id="too few"),
        pytest.param(5, True, 100, False, id="all there are"),
    ],
)
async def test_a_known_listing_serves_when_it_is_long_enough(
    known: int, complete: bool, limit: int, asked: bool
) -> None:
    kit = Kit(listing_of(known, complete=complete))
    await kit.run(action="list", options=Options(limit=known))
    other = {"request_id": "r2", "action": "list", "options": Options(limit=limit)}
    found = outcome(await kit.run(**other))
    assert (len(kit.reader.limits) == 2) is asked
    assert len(found.listing.entries) == min(known, limit)


@pytest.mark.parametrize("again", ["r1", "r2"])
async def test_whoever_was_served_by_a_listing_finds_it_again(again: str) -> None:
    kit, options = Kit(listing_of(3)), Options(limit=2)
    first = {name: await kit.run(request_id=name, options=options) for name in ("r1", "r2")}
    assert len(kit.reader.limits) == 1
    kit.reader.found = Listing(platform="tiktok", kind="profile", id="name", url=URL)
    kit.clock.now += LIFE + 1
    redone = await kit.run(request_id=again, options=options)
    assert members(redone) == members(first[again])
    assert not writes(redone)


async def test_who_only_looks_is_not_noted() -> None:
    kit = Kit(listing_of(3))
    await kit.run(action="list")
    assert not writes(await kit.run(request_id="r2", action="list"))


async def test_a_row_notes_only_so_many() -> None:
    kit, options = Kit(listing_of(1)), Options(limit=1)
    for number in range(NOTED_MAX + 5):
        await kit.run(request_id=f"n{number}", options=options)
    noted = decode(kit.table.get(PROFILE.key) or b"", KnownListing).request_ids
    assert noted == tuple(f"n{number}" for number in range(5, NOTED_MAX + 5))


async def test_part_of_a_listing_is_not_complete() -> None:
    kit = Kit(listing_of(5))
    await kit.run(action="list")
    found = outcome(await kit.run(request_id="r2", action="list", options=Options(limit=2)))
    assert (len(found.listing.entries), found.listing.complete) == (2, False)


@pytest.mark.parametrize("moved", [LIFE, LIFE + 1])
async def test_a_listing_is_known_for_a_while(moved: float) -> None:
    kit = Kit(listing_of(2))
    await kit.run(action="list")
    kit.clock.now += moved
    assert outcome(await kit.run(request_id="r2", action="list")).cache == "miss"


async def test_a_listing_from_before_the_clock_was_set_back_is_not_used_for_longer() -> None:
    kit = Kit(listing_of(2))
    await kit.run(action="list")
    kit.clock.now -= 7_200
    assert outcome(await kit.run(request_id="r2", action="list")).cache == "miss"


async def test_refresh_asks_anew() -> None:
    kit = Kit(listing_of(2))
    await kit.run(action="list")
    await kit.run(request_id="r2", action="list", options=Options(refresh=True))
    assert len(kit.reader.limits) == 2


async def test_an_unreadable_row_is_none() -> None:
    kit = Kit(listing_of(2))
    kit.table.show(TableWrite(TABLE, PROFILE.key, b"\xff"))
    effects = await kit.run(action="list")
    (row,) = writes(effects)
    assert decode(row.value or b"", KnownListing).listing == listing_of(2)


async def test_more_than_was_asked_for_is_cut() -> None:
    effects = await Kit(listing_of(9)).run(options=Options(limit=4))
    assert len(members(effects)) == outcome(effects).members == 4


async def test_an_empty_profile_completes_without_members() -> None:
    effects = await Kit(listing_of(0)).run(options=Options(limit=4))
    assert (outcome(effects).members, members(effects)) == (0, [])


async def test_a_failure_is_one_of_the_listing() -> None:
    error = ClipmillError(ErrorCode.CONTENT_PRIVATE, "private")
    found = failure(await Kit(error).run(action="list"))
    assert (found.error.error_type, found.subject) == (ErrorCode.CONTENT_PRIVATE, PROFILE.key)
    assert found.engine == ENGINE
    assert decode(found.record.value, ValidatedListing).listing == PROFILE


def test_a_bug_is_one_of_the_listing() -> None:
    event = ValidatedListing(job=make_job(url=URL), listing=PROFILE)
    on_bug = bug_handler("extraction", ValidatedListing)
    assert failure(list(on_bug(event_record(event), ValueError("x")))).subject == PROFILE.key


def test_a_member_keeps_what_is_the_requests_and_nothing_of_its_way() -> None:
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


async def test_rows_end() -> None:
    effects = await Kit(listing_of(1)).run(action="list")
    (row,) = writes(effects)
    known = decode(row.value or b"", KnownListing)
    assert (row.table, row.key, known.request_ids) == (TABLE, PROFILE.key, ("r1",))
    assert known.fresh_until == WRITTEN_AT.timestamp() + LIFE
    assert known.expires_at == WRITTEN_AT.timestamp() + KEPT
    assert encode(known) == row.value
    assert only(effects, AUDIT).key == b"r1"


async def test_nothing_of_the_members_is_written_before_their_row() -> None:
    effects = await Kit(listing_of(2)).run(options=Options(limit=2))
    assert isinstance(effects[0], TableWrite)
    assert isinstance(effects[1], Flush)
    assert not any(isinstance(each, TableWrite) for each in effects[2:])


@pytest.mark.parametrize("refresh", [True, False])
def test_members_are_fresh_as_the_client_wants_whatever_recovery_changed(refresh: bool) -> None:
    attempt = msgspec.structs.replace(make_attempt(), changed={"cookies": "none -> the platform's"})
    page = PageUse(outdated=True)
    job = make_job(options=Options(refresh=refresh), attempts=(attempt,), page=page)
    member = member_of(job, posts(1)[0], 0, 1)
    assert (member.options.refresh, member.page) == (refresh, PageUse())


def test_replayed_members_keep_names_of_their_own() -> None:
    listing = make_job(options=Options(limit=3)).replayed(1, WRITTEN_AT)
    members = [member_of(listing, post, n, 3) for n, post in enumerate(posts(3))]
    again = [each.replayed(2, WRITTEN_AT) for each in members]
    names = [f"r1/replay-1/{n}/replay-2" for n in range(3)]
    assert [each.request_id for each in again] == names
    assert [each.retry_of for each in again] == [each.request_id for each in members]
