"""What the ledger knows of a request: the rows of its table."""

import msgspec

from schemas.codec import MalformedMessageError, Moment, decode
from schemas.commands import OptionChanges
from schemas.job import BatchMember, Job
from schemas.request import Action, Options, Reply
from schemas.results import OutcomeStatus
from streams.tracing.context import TraceContext
from streams.tracing.scope import origin_of


class TraceOrigin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request's trace was begun with, beside its id: see `TraceContext`."""

    span_id: str = ""
    flags: int = 0
    state: str = ""


NO_ORIGIN = TraceOrigin()
"""One object: msgspec leaves out of a row only the very default."""


def trace_origin(context: TraceContext | None) -> TraceOrigin:
    """Return what is kept of the context of a request."""
    if context is None or not (context.span_id or context.flags or context.state):
        return NO_ORIGIN
    return TraceOrigin(context.span_id, context.flags, context.state)


def trace_context(trace_id: str, origin: TraceOrigin) -> TraceContext:
    """Return the context of a request of which something was kept."""
    return TraceContext(trace_id, origin.span_id, origin.flags, origin.state)


class RequestSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a job: enough to ask for it again, or to say that it was taken back.

    ``options`` are those that are not the defaults. A row is read and written more often than it
    is of use, so it holds nothing else.
    """

    url: str
    received_at: Moment
    trace_id: str
    action: Action = "download"
    options: OptionChanges = OptionChanges()
    priority: int = 5
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    batch: BatchMember | None = None
    reply: Reply | None = None
    trace: TraceOrigin = NO_ORIGIN


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """A row; ``expires_at`` is the epoch second up to which it is of use."""

    expires_at: float


class Open(Row, frozen=True, kw_only=True, tag="open"):
    """A request that has no outcome yet."""

    job: RequestSnapshot


class Decided(Row, frozen=True, kw_only=True, tag="decided"):
    """A request with its outcome: which record decided it.

    The same record read again (its offset was not committed before a crash) publishes its outcome
    again, the same bytes. Any other record about a decided request comes too late. ``members``
    are the requests that were made of it, when it was a listing. ``trace_id`` is that of the
    outcome, "" when it is that of the job. ``reply`` is where its outcome went, when no job has it.
    """

    record_id: str
    job: RequestSnapshot | None = None
    members: int = 0
    status: OutcomeStatus = "completed"
    trace_id: str = ""
    reply: Reply | None = None


RequestState = Open | Decided

_OPEN_TAG = b'{"kind":"open",'
"""How the rows of open requests begin: the encoder writes the tag first."""

UNREADABLE = Decided(record_id="", expires_at=0.0)
"""What a row that nobody can read stands for: decided, by no record that can be read again."""


def reply_known(known: RequestState | None) -> Reply | None:
    """Return where the outcome of a request goes, or went, as far as its row tells."""
    if known is None:
        return None
    if known.job is not None:
        return known.job.reply
    return known.reply if isinstance(known, Decided) else None


def read_row(row: bytes | None) -> RequestState | None:
    """Return what a row says, None when there is none."""
    if row is None:
        return None
    try:
        return decode(row, RequestState)  # type: ignore[arg-type]  # a union is a type to msgspec
    except MalformedMessageError:
        return UNREADABLE


def is_open(row: bytes) -> bool:
    """Return whether a row is that of a request without an outcome; does not decode it."""
    return row.startswith(_OPEN_TAG)


def essence_of(job: Job) -> RequestSnapshot:
    """Return what is kept of a job, and of the context of the record in work if it is the job's."""
    return RequestSnapshot(
        url=job.url,
        received_at=job.received_at,
        trace_id=job.trace_id,
        action=job.action,
        options=_unusual(job.options),
        priority=job.priority,
        attributes=job.attributes,
        retry_of=job.retry_of,
        batch=job.batch,
        reply=job.reply,
        trace=trace_origin(origin_of(job.trace_id)),
    )


def job_of(request_id: str, kept: RequestSnapshot) -> Job:
    """Return the job again, without what happened to it on its way."""
    return Job(
        request_id=request_id,
        url=kept.url,
        action=kept.action,
        options=changed(Options(), kept.options),
        received_at=kept.received_at,
        trace_id=kept.trace_id,
        priority=kept.priority,
        attributes=kept.attributes,
        retry_of=kept.retry_of,
        batch=kept.batch,
        reply=kept.reply,
    )


def changed(options: Options, changes: OptionChanges) -> Options:
    """Return the options with some of them changed."""
    merged = msgspec.to_builtins(options) | msgspec.to_builtins(changes)
    return msgspec.convert(merged, Options)


def _unusual(options: Options) -> OptionChanges:
    usual = msgspec.to_builtins(Options())
    own = msgspec.to_builtins(options)
    return msgspec.convert(
        {name: value for name, value in own.items() if value != usual[name]}, OptionChanges
    )
