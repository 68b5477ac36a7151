from collections.abc import Sequence

import pytest

from agents.extraction.agent import bug_by_kind, handle_by_kind
from schemas.events import ValidatedListing
from schemas.listing import ListingRef
from streams.records import Effect, Incoming, TableWrite
from streams.stage import SyncFirstHandler, synchronous
from tests.unit.agents.builders import event_record, make_job, make_record, validated

LISTING = ValidatedListing(
    job=make_job(),
    listing=ListingRef(platform="tiktok", kind="profile", id="a", url="https://www.tiktok.com/@a"),
)


def row_named(name: str) -> TableWrite:
    return TableWrite("marks", name, b"")


def handler_writing(name: str) -> SyncFirstHandler[Sequence[Effect]]:
    return synchronous(lambda _: [row_named(name)])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(event_record(LISTING), "listings", id="listing"),
        pytest.param(event_record(validated()), "videos", id="video"),
        pytest.param(make_record(b"{}"), "videos", id="no type"),
        pytest.param(make_record(b"{}", headers=[("ce_type", b"x")]), "videos", id="other type"),
    ],
)
async def test_record_is_dispatched_to_the_handler_of_its_kind(
    record: Incoming, expected: str
) -> None:
    handle = handle_by_kind(handler_writing("listings"), handler_writing("videos"))
    assert await handle(record) == handle.sync(record) == [row_named(expected)]
    on_bug = bug_by_kind(
        lambda _record, error: [row_named(f"listings {error}")],
        lambda _record, error: [row_named(f"videos {error}")],
    )
    assert on_bug(record, ValueError("x")) == [row_named(f"{expected} x")]
