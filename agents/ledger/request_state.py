"""Request state of the ledger: the rows of its table ``outcomes``. Pure."""

import msgspec

from schemas.codec import MalformedMessageError, Moment, decode
from schemas.commands import OptionChanges
from schemas.job import BatchMember, Job
from schemas.request import Action, Options, Reply
from schemas.results import OutcomeStatus
from streams.tracing.context import TraceContext
from streams.tracing.scope import origin_of


class TraceOrigin(msgspec.Struct, frozen=True, omit_defaults=True):
    """The origin of a request's trace without the trace id: see `TraceContext`."""

    span_id: str = ""
    flags: int = 0
    state: str = ""


NO_ORIGIN, NO_CHANGES = TraceOrigin(), OptionChanges()
"""Singletons: msgspec omits a default from a row only if it is the identical object."""


def trace_origin(context: TraceContext | None) -> TraceOrigin:
    if context is None or not (context.span_id or context.flags or context.state):
        return NO_ORIGIN
    return TraceOrigin(context.span_id, context.flags, context.state)


def trace_context(trace_id: str, origin: TraceOrigin) -> TraceContext:
    return TraceContext(trace_id, origin.span_id, origin.flags, origin.state)


class RequestSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a job that is stored: enough to retry or to cancel its request.

    ``options`` holds only the non-default ones. Rows are read and written far more often than
    their snapshots are used, so they are kept small.
    """

    url: str
    received_at: Moment
    trace_id: str
    action: Action = "download"
    options: OptionChanges = NO_CHANGES
    priority: int = 5
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    batch: BatchMember | None = None
    reply: Reply | None = None
    trace: TraceOrigin = NO_ORIGIN


class StateRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """A row; ``expires_at`` is in epoch seconds."""

    expires_at: float


class Open(StateRow, frozen=True, kw_only=True, tag="open"):
    """A request without a result."""

    job: RequestSnapshot


class Decided(StateRow, frozen=True, kw_only=True, tag="decided"):
    """A request with a result, and the record that decided it.

    When that record is redelivered (its offset was not committed before a crash), it publishes the
    result again, byte for byte. Results proposed by other records are dropped. ``members`` is the
    number of member requests of a listing. ``trace_id`` is that of the result, "" when equal to the
    job's. ``reply`` is the reply routing of the result, None when the job has it.
    """

    record_id: str
    job: RequestSnapshot | None = None
    members: int = 0
    status: OutcomeStatus = "completed"
    trace_id: str = ""
    reply: Reply | None = None


RequestState = Open | Decided

_OPEN_TAG = b'{"kind":"open",'
"""First bytes of the rows of open requests: the encoder writes the tag first."""

UNREADABLE = Decided(record_id="", expires_at=0.0)
"""State for a malformed row: decided, by no record, so no redelivery publishes a result."""


def known_reply(state: RequestState | None) -> Reply | None:
    """Return the reply routing of a request from its row."""
    if state is None:
        return None
    if state.job is not None:
        return state.job.reply
    return state.reply if isinstance(state, Decided) else None


def read_row(row: bytes | None) -> RequestState | None:
    """Decode a row; None when it is missing, `UNREADABLE` when it is malformed."""
    if row is None:
        return None
    try:
        return decode(row, RequestState)  # type: ignore[arg-type]  # a union is a type to msgspec
    except MalformedMessageError:
        return UNREADABLE


def is_open(row: bytes) -> bool:
    """Return whether a row is that of an open request, without decoding it."""
    return row.startswith(_OPEN_TAG)


def snapshot_of(job: Job) -> RequestSnapshot:
    """Return the snapshot of a job; with the current trace context if that is the job's trace."""
    return RequestSnapshot(
        url=job.url,
        received_at=job.received_at,
        trace_id=job.trace_id,
        action=job.action,
        options=NO_CHANGES if job.options == _DEFAULT_OPTIONS else _non_default(job.options),
        priority=job.priority,
        attributes=job.attributes,
        retry_of=job.retry_of,
        batch=job.batch,
        reply=job.reply,
        trace=trace_origin(origin_of(job.trace_id)),
    )


def restore_job(request_id: str, snapshot: RequestSnapshot) -> Job:
    """Rebuild a job from its snapshot, as new: without attempts, timings and deadline."""
    return Job(
        request_id=request_id,
        url=snapshot.url,
        action=snapshot.action,
        options=with_changes(Options(), snapshot.options),
        received_at=snapshot.received_at,
        trace_id=snapshot.trace_id,
        priority=snapshot.priority,
        attributes=snapshot.attributes,
        retry_of=snapshot.retry_of,
        batch=snapshot.batch,
        reply=snapshot.reply,
    )


def with_changes(options: Options, changes: OptionChanges) -> Options:
    merged = msgspec.to_builtins(options) | msgspec.to_builtins(changes)
    return msgspec.convert(merged, Options)


_DEFAULT_OPTIONS = Options()


def _non_default(options: Options) -> OptionChanges:
    defaults = msgspec.to_builtins(_DEFAULT_OPTIONS)
    own = msgspec.to_builtins(options)
    return msgspec.convert(
        {name: value for name, value in own.items() if value != defaults[name]}, OptionChanges
    )
