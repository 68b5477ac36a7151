"""What a record claims before it is worked on: its rank, and room in front of later stages.

A stage reads this from headers, without decoding the body: `PRIORITY`, which every event of a
request carries, and the request's id, which tells members of a batch from single requests.
"""

import msgspec

from schemas.signals import CANCEL
from streams.priority_queue import DEFAULT_PRIORITY, rank_of
from streams.records import Header, Incoming
from streams.topics import Topic

PRIORITY = "clipmill_priority"
"""Header with the request's priority, 0 to 9."""

Path = tuple[Topic, ...]
"""Topics in front of later stages."""


class Claim(msgspec.Struct, frozen=True):
    """What a record needs, and how soon. A struct: one is made for each record.

    Attributes:
        rank: larger is served first.
        path: topics whose readers must have room for what it leads to.
        cost: how many records it puts on each of them; of a batch, in one slice.
        request: id of its request, None when it is not known without decoding.
    """

    rank: int
    path: Path = ()
    cost: int = 1
    request: str | None = None


def priority_header(priority: int) -> Header:
    """Return the header that carries a priority to the later stages."""
    return (PRIORITY, str(priority).encode())


def claim_of(record: Incoming, path: Path = ()) -> Claim:
    """Return the claim of a record by its headers; without any it has the default priority."""
    request = record.header("ce_correlationid") or None
    return Claim(rank_by_headers(record), path, request=request)


def rank_by_headers(record: Incoming) -> int:
    """Return the rank of a record that one of our stages wrote."""
    text = record.header(PRIORITY) or ""
    is_digit = len(text) == 1 and text in "0123456789"
    priority = int(text) if is_digit else DEFAULT_PRIORITY
    return rank_of(priority, in_batch=_batch_of(record.header("ce_correlationid")) is not None)


def cancel_keys(request: str | None) -> tuple[str, ...]:
    """Return the keys of the signals that cancel a request: its own, and its batch's."""
    return tuple(f"{CANCEL}{name}" for name in cancelled_with(request))


def cancelled_with(request: str | None) -> tuple[str, ...]:
    """Return what can be cancelled and ends a request by that: itself, and its batch."""
    if not request:
        return ()
    batch = _batch_of(request)
    return (request,) if batch is None else (request, batch)


def _batch_of(request: str | None) -> str | None:
    """Return the batch of ``<batch>/<index>``, with or without ``/replay-<n>`` behind it."""
    if not request or "/" not in request:
        return None
    batch, index, *_ = request.split("/")
    return batch if index.isdecimal() else None
