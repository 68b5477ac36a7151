"""Requests of the history: their fields, filters and cursors, and how they look as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from schemas.codec import decode
from schemas.results import OutcomeStatus
from streams.client import BATCH_FINISHED
from streams.history.changes import STATES, HistoryFile, RejectedCommand, RequestEvent

REQUEST_STATES = (*STATES.values(), *get_args(OutcomeStatus), BATCH_FINISHED)
"""All states of requests: those of undecided ones, and the statuses of results."""

SHOWN_CHARACTERS_MAX = 80
"""Cut of a value in the text of its error."""


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are epoch seconds; fields that no record has named are None.

    Attributes:
        state: ``accepted``, ``extracted``, ``selected``, ``retrying``, ``parked``, or the status of
            its result.
        is_final: it has its result.
        step: the stage that set the state, or whose failure did.
        author: name of the post's author.
        title: title of the post, at most 300 characters of it.
        message: the failure in words.
        trace_id: W3C trace id of its records.
        retry_of: the request that it repeats.
        due: time of its next attempt.
        files: its stored files.
        command: the rejected command in place of a request; None for a request.
    """

    id: str
    batch: str | None
    state: str
    is_final: bool
    step: str | None
    action: str | None
    url: str | None
    platform: str | None
    video: str | None
    author: str | None
    title: str | None
    error: str | None
    message: str | None
    trace_id: str | None
    retry_of: str | None
    due: float | None
    attempts: int | None
    received_at: float
    updated_at: float
    files: tuple[HistoryFile, ...] = ()
    command: RejectedCommand | None = None

    @property
    def subject(self) -> str:
        """The URL, or the rejected command; empty for a batch."""
        if self.command is None:
            return self.url or ""
        parts = ("rejected command:", self.command.name, self.command.request_id)
        return " ".join(each for each in parts if each)

    @property
    def is_open_batch(self) -> bool:
        """An undecided batch, which has no URL."""
        return not self.is_final and self.url is None


class RetryState(msgspec.Struct, frozen=True):
    """A request that repeats another one."""

    id: str
    state: str


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to return; None matches all.

    Attributes:
        platform: a request whose link is not resolved has none.
        since: received at this time or later, epoch seconds.
    """

    state: str | None = None
    error: str | None = None
    platform: str | None = None
    video: str | None = None
    url: str | None = None
    batch: str | None = None
    retry_of: str | None = None
    since: float | None = None


class CriterionError(ValueError):
    """No request can match a criterion; ``field`` is its name."""

    def __init__(self, field: str, value: str, reason: str) -> None:
        super().__init__(f"{value[:SHOWN_CHARACTERS_MAX]!r} is not {reason}")
        self.field = field


def check_filter(wanted: RequestFilter) -> None:
    """Reject a state that no request has, and a post that is none.

    Names of platforms are open, for plugins; `HistoryStore.check_error` checks the error.

    Raises:
        CriterionError: of the first unusable criterion.
    """
    if wanted.state is not None and wanted.state not in REQUEST_STATES:
        raise CriterionError("state", wanted.state, f"one of {', '.join(REQUEST_STATES)}")
    platform, _, video_id = (wanted.video or "").partition(":")
    if wanted.video is not None and not (platform and video_id):
        raise CriterionError("video", wanted.video, "PLATFORM:ID, such as tiktok:7")


class Cursor(msgspec.Struct, frozen=True):
    """The last request of a page, behind which the next page begins."""

    received_at: float
    id: str


class Revision(msgspec.Struct, frozen=True):
    """A state of the history, behind which changes are read.

    Attributes:
        generation: raised when the history is emptied; no two files begin with the same.
        number: raised by every applied record, never lowered.
    """

    generation: int
    number: int


class RowChange(msgspec.Struct, frozen=True):
    """A request as its last change left it, and the number of the revision of that change."""

    number: int
    row: RequestRow


def request_row(values: Sequence[Any]) -> RequestRow:
    """Return the request of a row of the table: its fields in the order of the struct."""
    fields = dict(zip(RequestRow.__struct_fields__, values, strict=True))
    files = decode(fields["files"] or b"[]", tuple[HistoryFile, ...])
    command = decode(fields["command"] or b"null", RejectedCommand | None)  # type: ignore[arg-type]
    decoded = {"is_final": bool(fields["is_final"]), "files": files, "command": command}
    return RequestRow(**{**fields, **decoded})


def row_to_json(row: RequestRow) -> dict[str, object]:
    """Return the fields of a request; times are RFC 3339."""
    fields = ((name, getattr(row, name)) for name in RequestRow.__struct_fields__)
    return {
        name: format_time(value) if isinstance(value, float) else value for name, value in fields
    } | {"files": msgspec.to_builtins(row.files), "command": msgspec.to_builtins(row.command)}


def event_to_json(event: RequestEvent) -> dict[str, object]:
    return {
        "at": format_time(event.at),
        "step": event.step,
        "transition": event.transition,
        "detail": event.detail,
    }


def format_time(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
