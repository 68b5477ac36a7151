"""Claims of requests and events before processing: rank in the queue, and back-pressure path.

Called by the scheduler for every record that is read, so only a few fields are decoded. Never
fails: an undecodable record gets the default priority and claims capacity for its result only.
"""

import msgspec

from agents.pipeline.events import EVENTS_BY_KIND, Event
from schemas.codec import MalformedMessageError
from schemas.events import PendingLink, ValidatedListing
from schemas.json_text import without_bom
from schemas.request import Action
from streams.claims import Claim, TopicPath, claim_of
from streams.envelope import STRUCTURED, TYPE_PREFIX, open_envelope
from streams.priority_queue import DEFAULT_PRIORITY, DEFAULT_RANK, rank_of
from streams.records import Incoming
from streams.topics import AUDIT, EXTRACTED, SELECTED, VALIDATED

SLICE = 25
"""Members of a batch that are processed without interruption; other records run in between. About
5 ms of work, and less than the smallest capacity of a rank."""

OUTCOME: TopicPath = (AUDIT,)
"""Path of records that end at their step: only the audit topic needs capacity."""


class _ClaimedRequest(msgspec.Struct, frozen=True):
    id: str | int | None = None
    priority: int = DEFAULT_PRIORITY
    action: Action = "download"
    urls: tuple[msgspec.Raw, ...] | None = None


class _ClaimedJob(msgspec.Struct, frozen=True):
    action: Action = "download"


class _ClaimedEvent(msgspec.Struct, frozen=True):
    job: _ClaimedJob


_UNREADABLE = (MalformedMessageError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_request = msgspec.json.Decoder(_ClaimedRequest)
_event = msgspec.json.Decoder(_ClaimedEvent)


def kind_of(record: Incoming) -> type[Event] | None:
    """Return the event type that the headers of a record name, None when they name none."""
    return EVENTS_BY_KIND.get((record.header("ce_type") or "").removeprefix(TYPE_PREFIX))


def claim_of_request(record: Incoming) -> Claim:
    if kind_of(record) is PendingLink:
        return claim_of(record, (VALIDATED, *_path_after_extraction(record)))
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
    return claim_of(
        record, OUTCOME if kind_of(record) is ValidatedListing else _path_after_extraction(record)
    )


def claim_of_extracted(record: Incoming) -> Claim:
    return claim_of(record, (SELECTED, AUDIT))


def claim_of_selected(record: Incoming) -> Claim:
    return claim_of(record, OUTCOME)


def path_of(action: Action) -> TopicPath:
    """Return the topics after extraction on which a request produces records.

    Capacity of all of them is claimed at once: otherwise videos that wait for their download would
    exhaust the capacity of ``info`` requests.
    """
    return (EXTRACTED, SELECTED, AUDIT) if action == "download" else OUTCOME


def _path_after_extraction(record: Incoming) -> TopicPath:
    try:
        event = _event.decode(record.value or b"")
    except _UNREADABLE:
        return OUTCOME
    return path_of(event.job.action)


def _read_request(record: Incoming) -> _ClaimedRequest | None:
    content_type = (record.header("content-type") or "").lower()
    try:
        structured = content_type.startswith(STRUCTURED)
        data = (open_envelope(record).data if structured else record.value) or b""
        return _request.decode(without_bom(data))
    except _UNREADABLE:
        return None
