"""What a record of the audit or results topic changes in the history of its request. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from schemas.audit import Transition
from schemas.codec import MalformedMessageError, Moment, decode
from schemas.request import Action
from schemas.results import OutcomeStatus

STATES: Mapping[Transition, str] = {
    "accepted": "accepted",
    "extracted": "extracted",
    "selected": "selected",
    "retrying": "retrying",
    "parked": "parked",
}
"""State of an undecided request after each transition; the others do not change it."""

ATTEMPTS_MAX = 1_000_000

FILES_MAX = 1_000
"""More than any post has pictures."""

FILE_BYTES_MAX = 2**53
"""Largest file: the sum of `FILES_MAX` of them is an integer of SQLite."""

TEXT_CHARACTERS_MAX = 4_096
"""Longest URL that is accepted, and more than any other text."""

TITLE_CHARACTERS_MAX = 300
"""Cut of titles, which may be descriptions of 2,200 characters (TikTok): both indexes of the
library contain them."""

AUTHOR_CHARACTERS_MAX = 100

MESSAGE_CHARACTERS_MAX = 1_000
"""Cut of user messages: a sentence of the catalogue with a reason of at most 300 characters."""

LEDGER = "ledger"

COMMAND_STAGES = ("commands", LEDGER)
"""Stages that reject commands; they reject no requests."""

DETAILS_CHARACTERS_MAX = 4_000
"""Cut of the technical details of an error, all together: a traceback may have that many."""

_TRACE_ID = re.compile(r"[0-9a-f]{32}")

Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS_MAX)]


class _BatchFields(msgspec.Struct, frozen=True):
    id: str


class _Job(msgspec.Struct, frozen=True):
    request_id: str
    url: str
    action: Action
    received_at: Moment
    batch: _BatchFields | None = None
    trace_id: str = ""
    retry_of: Text | None = None


class _Reply(msgspec.Struct, frozen=True):
    topic: str | None = None


class _Audit(msgspec.Struct, frozen=True):
    request_id: Text
    step: Text
    transition: Transition
    at: Moment
    detail: dict[str, str] = {}
    job: _Job | None = None
    reply: _Reply | None = None
    outcome: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct, frozen=True):
    error_type: str
    operation: str
    user_message: str = ""
    technical_details: dict[str, str] = {}


class _Author(msgspec.Struct, frozen=True):
    name: str | None = None
    display_name: str | None = None


class _Video(msgspec.Struct, frozen=True):
    id: str
    platform: str
    title: str = ""
    author: _Author = _Author()


class HistoryFile(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file of a result."""

    uri: Text
    bytes: Annotated[int, msgspec.Meta(ge=0, le=FILE_BYTES_MAX)]
    mime_type: Text


class _ResultFields(msgspec.Struct, frozen=True):
    request_id: Text
    status: Literal[OutcomeStatus, "batch_finished"]
    received_at: Moment
    finished_at: Moment
    url: str | None = None
    trace_id: str = ""
    attempts: Annotated[int, msgspec.Meta(ge=0, le=ATTEMPTS_MAX)] = 0
    batch_id: str | None = None
    retry_of: Text | None = None
    error: _Error | None = None
    video: _Video | None = None
    files: Annotated[tuple[HistoryFile, ...], msgspec.Meta(max_length=FILES_MAX)] = ()


class RejectedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that the service has rejected; its result is under an id as that of a request.

    Attributes:
        name: ``cancel`` or ``retry``, or another command; null for one that cannot be decoded.
        request_id: the request that it is about; null for a command about none, or a result of a
            version that does not name it.
    """

    name: str | None
    request_id: str | None


class RequestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of a request.

    Attributes:
        at: time of the transition, epoch seconds.
        step: the stage.
        transition: its name.
        detail: the step's own texts.
    """

    at: float
    step: str
    transition: str
    detail: dict[str, str] = {}


class RequestChange(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a request's fields; None leaves a field as it is.

    Attributes:
        request_id: the request.
        at: time of the change, epoch seconds.
        state: state of an undecided request, or status of the result.
        is_final: the request is decided; later changes of its state are ignored.
        introduces: the record is of an accepted request, or a result; other records change only
            requests that the history has.
        video: key of the post, ``<platform>:<id>``.
        author: name of the post's author.
        title: title of the post, cut.
        error: code of the failure.
        message: the failure in words, cut.
        details: facts of the failure for developers, redacted by the stage, cut.
        trace_id: W3C trace id of the request's records.
        retry_of: the request that it repeats.
        due: time of the next attempt, epoch seconds.
        files: the stored files of a result.
        command: the rejected command that the result is of, None for one of a request.
        event: the transition, None for a result.
    """

    request_id: str
    at: float
    state: str | None = None
    is_final: bool = False
    introduces: bool = False
    step: str | None = None
    action: str | None = None
    url: str | None = None
    video: str | None = None
    author: str | None = None
    title: str | None = None
    error: str | None = None
    message: str | None = None
    details: dict[str, str] | None = None
    trace_id: str | None = None
    due: float | None = None
    attempts: int | None = None
    batch: str | None = None
    retry_of: str | None = None
    received_at: float | None = None
    files: tuple[HistoryFile, ...] = ()
    command: RejectedCommand | None = None
    event: RequestEvent | None = None

    @property
    def platform(self) -> str | None:
        """The platform of the post."""
        return None if self.video is None else self.video.partition(":")[0]


def change_of_audit(value: bytes) -> RequestChange | None:
    """Return the change that an audit record makes, None for a record of a foreign producer."""
    try:
        record = decode(value, _Audit)
        at, job, detail = _seconds(record.at), record.job, record.detail
        received_at = None if job is None else _seconds(job.received_at)
    except (MalformedMessageError, OverflowError):
        return None
    if record.transition == "finished" and record.reply and record.reply.topic:
        # The results topic does not have it: this proposal is as close as the history comes.
        result = change_of_result(bytes(record.outcome))
        return result and msgspec.structs.replace(result, event=_event(record, at))
    state = STATES.get(record.transition)
    # A batch is registered with the job of its first member.
    own = job if job is not None and job.request_id == record.request_id else None
    return RequestChange(
        request_id=record.request_id,
        at=at,
        state=state,
        introduces=job is not None,
        step=None if state is None else detail.get("step", record.step),
        action=None if own is None else own.action,
        url=None if own is None else own.url[:TEXT_CHARACTERS_MAX],
        video=detail.get("video"),
        error=detail.get("code"),
        due=parse_due(detail.get("due")),
        trace_id=None if own is None else _trace_id(own.trace_id),
        batch=None if own is None or own.batch is None else own.batch.id,
        retry_of=None if own is None else own.retry_of,
        received_at=received_at,
        event=_event(record, at),
    )


def change_of_result(value: bytes) -> RequestChange | None:
    """Return the change that a result makes, None for a record of a foreign producer."""
    try:
        result = decode(value, _ResultFields)
        at, received_at = _seconds(result.finished_at), _seconds(result.received_at)
    except (MalformedMessageError, OverflowError):
        return None
    error, video = result.error, result.video
    return RequestChange(
        request_id=result.request_id,
        at=at,
        state=result.status,
        is_final=True,
        introduces=True,
        step=None if error is None else error.operation,
        url=None if result.url is None else result.url[:TEXT_CHARACTERS_MAX] or None,
        video=None if video is None else f"{video.platform}:{video.id}",
        author=None if video is None else _author(video.author),
        title=None if video is None else video.title[:TITLE_CHARACTERS_MAX] or None,
        error=None if error is None else error.error_type,
        message=None if error is None else error.user_message[:MESSAGE_CHARACTERS_MAX] or None,
        details=None if error is None else _cut_details(error.technical_details) or None,
        trace_id=_trace_id(result.trace_id),
        attempts=result.attempts,
        batch=result.batch_id,
        retry_of=result.retry_of,
        received_at=received_at,
        files=result.files,
        command=_rejected_command(result),
    )


def _rejected_command(result: _ResultFields) -> RejectedCommand | None:
    error = result.error
    if result.status != "rejected" or error is None or error.operation not in COMMAND_STAGES:
        return None
    name = error.technical_details.get("command")
    request_id = error.technical_details.get("request_id", result.retry_of)
    if name is None and error.operation == LEDGER:  # of a version that does not name it
        name = "cancel" if result.retry_of is None else "retry"
    return RejectedCommand(
        name=name and name[:TEXT_CHARACTERS_MAX],
        request_id=request_id and request_id[:TEXT_CHARACTERS_MAX],
    )


def _cut_details(details: dict[str, str]) -> dict[str, str]:
    """Return the details that fit into `DETAILS_CHARACTERS_MAX`; the last of them is cut."""
    found: dict[str, str] = {}
    left = DETAILS_CHARACTERS_MAX
    for name, text in details.items():
        left -= len(name)
        if left <= 0:
            break
        found[name] = text[:left]
        left -= len(text)
    return found


def _event(record: _Audit, at: float) -> RequestEvent:
    return RequestEvent(at=at, step=record.step, transition=record.transition, detail=record.detail)


def _author(author: _Author) -> str | None:
    return (author.name or author.display_name or "")[:AUTHOR_CHARACTERS_MAX] or None


def _trace_id(text: str) -> str | None:
    return text if _TRACE_ID.fullmatch(text) else None


def _seconds(moment: datetime) -> float:
    """Return epoch seconds; raises OverflowError for a time that no UTC date has."""
    return moment.astimezone(UTC).timestamp()


def parse_due(moment: str | None) -> float | None:
    """Return the time of a next attempt in a detail; None for one of a foreign producer."""
    try:
        return None if moment is None else _seconds(datetime.fromisoformat(moment))
    except (ValueError, OverflowError):
        return None
