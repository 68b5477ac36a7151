"""commands: executes the commands of users and operators.

Commands about a request are forwarded to the ledger by the audit topic; cancellations are also
published as signals to the workers that may process it. Invalid commands are rejected on the
results topic.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import get_args

import msgspec

from agents.commands.command_parsing import (
    KINDS,
    NAME,
    REFUSED,
    TAKEN,
    UNKNOWN,
    field_error,
    on_bug,
    read_command,
    reject,
)
from agents.pipeline.events import user_command
from agents.pipeline.request_parsing import cause_of, rejection
from agents.platforms import Platforms, ShortLink
from schemas import ClipmillError, MalformedMessageError, encode
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
    open_envelope,
    seal,
)
from streams.observability.metrics import COMMANDS_TAKEN, start_at_zero
from streams.stage import stage_names
from streams.topics import COMMANDS, SIGNALS

OPERATIONS = get_args(Operation)


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
