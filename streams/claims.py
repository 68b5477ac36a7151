"""Admission claim of a record: its rank, and the downstream topics that need free capacity.

The scheduler makes one per record from headers alone, without decoding the body: `PRIORITY`, on
every event of a request, and the request id, which distinguishes batch members from single
requests.
"""

import msgspec

from schemas.signals import CANCEL
from streams.priority_queue import DEFAULT_PRIORITY, rank_of
from streams.records import Header, Incoming
from streams.topics import Topic

PRIORITY = "clipmill_priority"
"""Header with the request's priority, 0 to 9."""

TopicPath = tuple[Topic, ...]
"""Input topics of downstream stages, whose back-pressure applies."""


class Claim(msgspec.Struct, frozen=True):
    """Rank and downstream demand of a record. A struct, because one is created per record.

    Attributes:
        rank: larger is served first.
        path: topics whose consumers must have capacity for the output of the record.
        cost: output records per topic of the path; for a batch, per slice.
        request: request id, None when it is unknown without decoding.
    """

    rank: int
    path: TopicPath = ()
    cost: int = 1
    request: str | None = None


def priority_header(priority: int) -> Header:
    return (PRIORITY, str(priority).encode())


def claim_of(record: Incoming, path: TopicPath = ()) -> Claim:
    """Return the claim of a record by its headers; the default priority without any."""
    request = record.header("ce_correlationid") or None
    return Claim(rank_by_headers(record), path, request=request)


def rank_by_headers(record: Incoming) -> int:
    """Return the rank of a record produced by a stage."""
    text = record.header(PRIORITY) or ""
    is_digit = len(text) == 1 and text in "0123456789"
    priority = int(text) if is_digit else DEFAULT_PRIORITY
    return rank_of(priority, in_batch=_batch_of(record.header("ce_correlationid")) is not None)


def cancel_keys(request: str | None) -> tuple[str, ...]:
    """Return the shared-state keys that cancel a request: its own, and that of its batch."""
    return tuple(f"{CANCEL}{name}" for name in cancellable_ids(request))


def cancellable_ids(request: str | None) -> tuple[str, ...]:
    """Return the ids whose cancellation ends a request: its own, and that of its batch."""
    if not request:
        return ()
    batch = _batch_of(request)
    return (request,) if batch is None else (request, batch)


def _batch_of(request: str | None) -> str | None:
    """Return the batch id of ``<batch>/<index>``, with or without a ``/replay-<n>`` suffix."""
    if not request or "/" not in request:
        return None
    batch, index, *_ = request.split("/")
    return batch if index.isdecimal() else None
