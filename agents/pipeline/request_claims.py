"""What requests and events claim before they are worked on: rank, and room on their way.

Only some fields are decoded. Whatever is in a record, a claim comes out: what cannot be read has
the default priority, and only its outcome needs room.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from agents.pipeline.events import EVENTS_BY_KIND, Event
from schemas.codec import MalformedMessageError
from schemas.events import PendingLink, ValidatedListing
from schemas.json_text import without_mark
from schemas.request import Action
from streams.claims import Claim, Path, claim_of
from streams.envelope import STRUCTURED, TYPE_PREFIX, open_envelope
from streams.priority_queue import DEFAULT_PRIORITY, DEFAULT_RANK, rank_of
from streams.records import Effect, Incoming
from streams.stage import BugHandler, Handler
from streams.topics import AUDIT, EXTRACTED, SELECTED, VALIDATED

T = TypeVar("T")


def kind_of(record: Incoming) -> type[Event] | None:
    """Return the kind of event in a record, None when it names none."""
    return EVENTS_BY_KIND.get((record.header("ce_type") or "").removeprefix(TYPE_PREFIX))


def handle_by_kind(handlers: Mapping[type[Event], Handler], usual: Handler) -> Handler:
    """Return the handler that leaves a record to the handler of its kind of event."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        return await _chosen(handlers, record, usual)(record)

    return handle


def bug_by_kind(handlers: Mapping[type[Event], BugHandler], usual: BugHandler) -> BugHandler:
    """Return the same for what becomes of an unexpected exception."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        return _chosen(handlers, record, usual)(record, error)

    return on_bug


def _chosen(handlers: Mapping[type[Event], T], record: Incoming, usual: T) -> T:
    kind = kind_of(record)
    return usual if kind is None else handlers.get(kind, usual)


SLICE = 25
"""Members of a batch that go on together; others get their turn in between. About 5 ms of work, and
less than the smallest room that a rank has."""

OUTCOME: Path = (AUDIT,)
"""Path of what ends at its step."""


class _Request(msgspec.Struct, frozen=True):
    id: str | int | None = None
    priority: int = DEFAULT_PRIORITY
    action: Action = "download"
    urls: tuple[msgspec.Raw, ...] | None = None


class _Job(msgspec.Struct, frozen=True):
    action: Action = "download"


class _Event(msgspec.Struct, frozen=True):
    job: _Job


_UNREADABLE = (MalformedMessageError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_request = msgspec.json.Decoder(_Request)
_event = msgspec.json.Decoder(_Event)


def claim_of_request(record: Incoming) -> Claim:
    """Return the claim of a record on the requests topic."""
    if kind_of(record) is PendingLink:
        return claim_of(record, (VALIDATED, *_after(record)))
    request = _read_request(record)
    if request is None:
        return Claim(DEFAULT_RANK, OUTCOME)
    batch = request.urls is not None
    return Claim(
        rank_of(request.priority, in_batch=batch),
        (VALIDATED, *path_of(request.action)),
        cost=max(1, min(SLICE, len(request.urls or ()))),
        request=None if request.id is None else str(request.id),
    )


def claim_of_validated(record: Incoming) -> Claim:
    """Return the claim of a post or a listing whose page is to be read."""
    return claim_of(record, OUTCOME if kind_of(record) is ValidatedListing else _after(record))


def claim_of_extracted(record: Incoming) -> Claim:
    """Return the claim of a video whose files are to be chosen."""
    return claim_of(record, (SELECTED, AUDIT))


def claim_of_selected(record: Incoming) -> Claim:
    """Return the claim of a video that is to be downloaded."""
    return claim_of(record, OUTCOME)


def path_of(action: Action) -> Path:
    """Return the topics behind extraction on which a request leads to records.

    They are all asked for from the beginning: else videos that wait for their download would fill
    the room of requests that only want to know what a page says.
    """
    return (EXTRACTED, SELECTED, AUDIT) if action == "download" else OUTCOME


def _after(record: Incoming) -> Path:
    try:
        event = _event.decode(record.value or b"")
    except _UNREADABLE:
        return OUTCOME
    return path_of(event.job.action)


def _read_request(record: Incoming) -> _Request | None:
    content_type = (record.header("content-type") or "").lower()
    try:
        structured = content_type.startswith(STRUCTURED)
        data = (open_envelope(record).data if structured else record.value) or b""
        return _request.decode(without_mark(data))
    except _UNREADABLE:
        return None
