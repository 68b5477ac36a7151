"""commands: parses and executes the commands of users and operators.

Commands about a request are forwarded to the ledger by the audit topic; cancellations are also
published as signals to the workers that may process it. ``refresh`` is a cache invalidation,
published as a signal to all workers. Invalid commands are rejected on the results topic, with the
field and the reason.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import get_args

import msgspec

from agents.pipeline.events import propose_result, user_command
from agents.pipeline.failures import as_bug, placeholder_job
from agents.pipeline.request_parsing import (
    cause_of,
    check_size,
    is_json,
    recover_identity,
    rejection,
)
from agents.pipeline.results import details_of, error_result
from agents.platforms import Platforms, ShortLink
from schemas import ClipmillError, ErrorCode, MalformedMessageError, decode, encode
from schemas.attempts import BreakerCommand, Operation
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    RecordOrder,
    Refresh,
    ResetBreaker,
    ResumeStage,
    Retry,
)
from schemas.error_catalog import explain
from schemas.signals import CANCEL, INTAKE, REFRESH, CancelSignal, IntakeSignal, RefreshSignal
from streams import (
    ATTEMPTS,
    AUDIT,
    Effect,
    Envelope,
    Handler,
    Incoming,
    Outgoing,
    Stage,
    StageContext,
    Topic,
    dead_letter,
    open_envelope,
    seal,
)
from streams.observability.metrics import COMMANDS_TAKEN, start_at_zero
from streams.stage import stage_names
from streams.topics import COMMANDS, SIGNALS

NAME = "commands"

OPERATIONS = get_args(Operation)

KINDS = tuple(str(each.__struct_config__.tag) for each in get_args(Command))

TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"
"""Metric labels: the outcome of a command, and the name of one that cannot be read."""


class Commands:
    """The stage's step.

    Args:
        platforms: parse the URLs of videos.
        stages: names of the stages that can be resumed.
        clock: execution time of commands; record timestamps come from the clients' clocks.
    """

    def __init__(
        self,
        platforms: Platforms,
        stages: Sequence[str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._platforms = platforms
        self._stages = stages
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Handle any record of the commands topic."""
        envelope: Envelope | None = None
        try:
            envelope = open_envelope(record)
            command = read_command(envelope, record)
            context = CommandContext(cause_of(envelope, record), envelope.trace_id, self._clock())
            effects = self._execute(command, context)
        except MalformedMessageError as error:
            return reject(record, rejection(error), envelope)
        except ClipmillError as error:
            return reject(record, error, envelope)
        COMMANDS_TAKEN.labels(command.__struct_config__.tag, TAKEN).inc()
        return effects

    def _execute(self, command: Command, context: "CommandContext") -> Sequence[Effect]:
        match command:
            case Cancel():
                key = f"{CANCEL}{command.request_id}"
                signal = CancelSignal(by=command.by, at=context.at)
                return [context.send(SIGNALS, key, signal, "cancel"), context.to_ledger(command)]
            case Retry():
                return [context.to_ledger(command)]
            case Refresh():
                key = f"{REFRESH}{self._video_key(command.video)}"
                refresh = RefreshSignal(by=command.by, at=context.at)
                return [context.send(SIGNALS, key, refresh, "refresh")]
            case OpenBreaker() | ResetBreaker():
                order = _breaker_order(command, self._platforms.names, context.at)
                return [context.send(ATTEMPTS, order.name, order, "breaker.ordered")]
            case ResumeStage():
                return [self._resume(command, context)]
            case RecordOrder():
                return []

    def _resume(self, command: ResumeStage, context: "CommandContext") -> Outgoing:
        if command.stage not in self._stages:
            reason = f"unknown stage {command.stage}; available: {', '.join(sorted(self._stages))}"
            raise field_error("$.stage", reason)
        signal = IntakeSignal(
            paused=False, reason="resumed by command", by=command.by, at=context.at
        )
        return context.send(SIGNALS, f"{INTAKE}{command.stage}", signal, "intake")

    def _video_key(self, video: str) -> str:
        """Return the key of a video, given as its key or as a link."""
        if "://" not in video:
            platform, _, number = video.partition(":")
            if not (platform and number):
                raise field_error("$.video", f"{video!r} is neither PLATFORM:ID nor a link")
            return video
        try:
            _, found = self._platforms.find(video)
        except ClipmillError as error:
            raise field_error("$.video", error.message) from None
        if isinstance(found, ShortLink):
            raise field_error("$.video", "a short link does not identify a video")
        return found.key


class CommandContext(msgspec.Struct, frozen=True):
    """Shared by all records of a command: causation id, trace, and execution time."""

    cause: str
    trace_id: str
    at: datetime

    def send(self, topic: Topic, key: str, message: object, kind: str) -> Outgoing:
        """Return a record that executes the command; redelivery produces the same event id."""
        return seal(
            topic,
            key,
            encode(message),
            kind=f"{kind}.v1",
            step=NAME,
            event_id=f"{self.cause}:{kind}:{key}",
            request_id=key.partition("/")[2] or key,
            trace_id=self.trace_id,
            cause_id=self.cause,
            own_trace=False,
        )

    def to_ledger(self, command: Cancel | Retry) -> Outgoing:
        return user_command(command, NAME, at=self.at, cause=self.cause, trace_id=self.trace_id)


def _breaker_order(
    command: OpenBreaker | ResetBreaker, platforms: Sequence[str], at: datetime
) -> BreakerCommand:
    platform, _, rest = command.breaker.partition(":")
    operation, _, egress = rest.partition(":")
    if not (platform and egress) or operation not in OPERATIONS:
        operations = ", ".join(OPERATIONS)
        reason = f"{command.breaker!r} is not PLATFORM:OPERATION:EGRESS; operations: {operations}"
        raise field_error("$.breaker", reason)
    # Each name creates a table row, a signal and metric series that are never removed.
    if platform not in platforms:
        reason = f"unknown platform {platform!r}; available: {', '.join(platforms)}"
        raise field_error("$.breaker", reason)
    return BreakerCommand(
        platform=platform,
        operation=operation,  # type: ignore[arg-type]  # it is one of them
        egress=egress,
        action="open" if isinstance(command, OpenBreaker) else "reset",
        by=command.by,
        at=at,
    )


def read_command(envelope: Envelope, record: Incoming) -> Command:
    """Decode a command; its id, and the new request id of a retry, default to the record id.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        command: Command = decode(envelope.data, Command)  # type: ignore[arg-type]
    except MalformedMessageError as error:
        raise rejection(error) from None
    command = msgspec.structs.replace(command, id=command.id or record.record_id)
    if not isinstance(command, Retry):
        return command
    new_id = command.new_id or command.id
    if new_id == command.request_id:
        raise field_error("$.new_id", "it must differ from request_id")
    return msgspec.structs.replace(command, new_id=new_id)


def field_error(field: str, reason: str) -> ClipmillError:
    return ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=field)


def reject(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the result of an invalid command; a record that is no JSON is also dead-lettered."""
    body = envelope.data if envelope else record.value
    COMMANDS_TAKEN.labels(_kind_of(body), REFUSED).inc()
    outcome = _result(record, error, envelope)
    return [outcome] if is_json(body) else [outcome, dead_letter(record, error, NAME)]


def _result(record: Incoming, error: ClipmillError, envelope: Envelope | None) -> Outgoing:
    identity = recover_identity(record, envelope)
    job = placeholder_job(identity.request_id, record)
    details = details_of(error) | identity.envelope_ids
    if (kind := _kind_of(envelope.data if envelope else record.value)) != UNKNOWN:
        details["command"] = kind
    context = explain(error.code, operation=NAME, url="", details=details)
    return propose_result(job, NAME, error_result(job, context), record.record_id)


class _Kind(msgspec.Struct, frozen=True):
    command: str


def _kind_of(body: bytes | None) -> str:
    """Return the command name in a body as a metric label of bounded cardinality."""
    with suppress(MalformedMessageError):
        kind = decode(body or b"", _Kind).command
        return kind if kind in KINDS else UNKNOWN
    return UNKNOWN


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """End the command as ``internal.bug`` and dead-letter its record."""
    return [_result(record, as_bug(error), None), dead_letter(record, error, NAME)]


@asynccontextmanager
async def open_commands(context: StageContext) -> AsyncIterator[Handler]:
    start_at_zero(COMMANDS_TAKEN, KINDS, (TAKEN, REFUSED))
    start_at_zero(COMMANDS_TAKEN, [UNKNOWN], [REFUSED])
    yield Commands(Platforms.load(context.settings.platforms), stage_names()).handle


stage = Stage(
    name=NAME,
    sources=(COMMANDS,),
    open=open_commands,
    on_bug=on_bug,
    writes=(ATTEMPTS, AUDIT, SIGNALS),
    purpose="executes the commands of users and operators",
)
