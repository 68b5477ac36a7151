"""Types of the JSON that the operations on requests read and write; they only document it."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from schemas.commands import OptionChanges
from streams.history.changes import Event, HistoryFile
from streams.history.rows import RequestRow


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong with a call.

    Attributes:
        field: the parameter, header or service that it concerns.
        message: the cause, and what the caller can do.
    """

    field: str
    message: str


class Error(msgspec.Struct, frozen=True):
    """The body of every error."""

    error: ErrorDetail


class HistoryRequest(RequestRow, frozen=True, kw_only=True):
    """A request of the history; fields that no record has named are null."""

    due: datetime | None  # type: ignore[assignment]  # written as RFC 3339
    received_at: datetime  # type: ignore[assignment]
    updated_at: datetime  # type: ignore[assignment]
    files: tuple[HistoryFile, ...]


class HistoryEvent(Event, frozen=True, kw_only=True):
    """A transition of a request.

    Attributes:
        at: time of the transition.
    """

    at: datetime  # type: ignore[assignment]


class RequestHistory(HistoryRequest, frozen=True, kw_only=True):
    """A request with its transitions, oldest first."""

    events: tuple[HistoryEvent, ...]


class RequestList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of requests, newest first.

    Attributes:
        next: the next page, relative to `/api/v1/`; null behind the last one.
    """

    requests: tuple[HistoryRequest, ...]
    next: str | None


class StateCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The number of requests by state."""

    states: dict[str, int]


class AcceptedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A published request.

    Attributes:
        href: its history, relative to `/api/v1/`.
        url: of a single request.
        batch_size: of a batch.
    """

    id: str
    href: str
    url: str | UnsetType = UNSET
    batch_size: int | UnsetType = UNSET


class AcceptedRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The published requests, in the order of the body."""

    requests: tuple[AcceptedRequest, ...]


class AcceptedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A published command.

    Attributes:
        command: id of the command; a rejection is a result with this id.
    """

    command: str
    request_id: str


class AcceptedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """The new request that a retry makes.

    Attributes:
        href: its history, relative to `/api/v1/`.
    """

    id: str
    href: str


class RetryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a retry.

    Attributes:
        options: the changed options; the others are kept.
    """

    options: OptionChanges | UnsetType = UNSET


class EmptyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object without fields."""
