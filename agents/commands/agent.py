"""commands: what users and operators order, and who is to do it.

Orders about a request go to the ledger, by the audit topic, and as signals to every worker that
may be at it. What is no command, or names what is not there, is refused on the results topic.
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
    on_bug,
    read_command,
    refuse,
    refuse_field,
)
from agents.pipeline.events import user_command
from agents.pipeline.request_parsing import cause_of, refusal
from agents.platforms.interface import ShortLink
from agents.platforms.registry import Platforms
from schemas.attempts import BreakerOrder, Operation
from schemas.codec import MalformedMessageError, encode
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    Refresh,
    ResetBreaker,
    ResumeStage,
    Retry,
)
from schemas.errors import ClipmillError
from schemas.signals import CANCEL, INTAKE, REFRESH, CancelSignal, IntakeSignal, RefreshSignal
from streams.envelope import Envelope, open_envelope, seal
from streams.observability.metrics import COMMANDS_TAKEN, start_at_zero
from streams.records import Effect, Incoming, Outgoing
from streams.stage import Handler, Stage, StageContext, stage_names
from streams.topics import ATTEMPTS, COMMANDS, SIGNALS, Topic

OPERATIONS = get_args(Operation)


class Commands:
    """The stage's work.

    Args:
        platforms: find the video that a URL means.
        stages: names of the stages that can be resumed.
        clock: when a command is carried out. Its record's own time is some client's clock.
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
        """Return what follows from a record on the commands topic, whatever is in it."""
        envelope: Envelope | None = None
        try:
            envelope = open_envelope(record)
            command = read_command(envelope, record)
            given = Order(cause_of(envelope, record), envelope.trace_id, self._clock())
            effects = self._carry_out(command, given)
        except MalformedMessageError as error:
            return refuse(record, refusal(error), envelope)
        except ClipmillError as error:
            return refuse(record, error, envelope)
        COMMANDS_TAKEN.labels(command.__struct_config__.tag, TAKEN).inc()
        return effects

    def _carry_out(self, command: Command, given: "Order") -> Sequence[Effect]:
        match command:
            case Cancel():
                key = f"{CANCEL}{command.request_id}"
                signal = CancelSignal(by=command.by, at=given.at)
                return [given.send(SIGNALS, key, signal, "cancel"), given.to_ledger(command)]
            case Retry():
                return [given.to_ledger(command)]
            case Refresh():
                key = f"{REFRESH}{self._video_key(command.video)}"
                forget = RefreshSignal(by=command.by, at=given.at)
                return [given.send(SIGNALS, key, forget, "refresh")]
            case OpenBreaker() | ResetBreaker():
                turn = _breaker_order(command, self._platforms.names, given.at)
                return [given.send(ATTEMPTS, turn.name, turn, "breaker.ordered")]
            case ResumeStage():
                return [self._resume(command, given)]

    def _resume(self, command: ResumeStage, given: "Order") -> Outgoing:
        if command.stage not in self._stages:
            reason = f"no stage {command.stage}; there are {', '.join(sorted(self._stages))}"
            raise refuse_field("$.stage", reason)
        signal = IntakeSignal(paused=False, reason="resumed by command", by=command.by, at=given.at)
        return given.send(SIGNALS, f"{INTAKE}{command.stage}", signal, "intake")

    def _video_key(self, video: str) -> str:
        """Return the key of a video, given by its key or by a link that names it."""
        if "://" not in video:
            platform, _, number = video.partition(":")
            if not (platform and number):
                raise refuse_field("$.video", f"{video!r} is neither PLATFORM:ID nor a link")
            return video
        try:
            _, found = self._platforms.find(video)
        except ClipmillError as error:
            raise refuse_field("$.video", error.message) from None
        if isinstance(found, ShortLink):
            raise refuse_field("$.video", "a short link does not tell which video it means")
        return found.key


class Order(msgspec.Struct, frozen=True):
    """What all records of a command share: cause, trace, and when it is carried out."""

    cause: str
    trace_id: str
    at: datetime

    def send(self, topic: Topic, key: str, message: object, kind: str) -> Outgoing:
        """Return a record that carries it out; its id is the same for every copy."""
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
        """Return the order for the one that decides about requests."""
        return user_command(command, NAME, at=self.at, cause=self.cause, trace_id=self.trace_id)


def _breaker_order(
    command: OpenBreaker | ResetBreaker, platforms: Sequence[str], at: datetime
) -> BreakerOrder:
    platform, _, rest = command.breaker.partition(":")
    operation, _, egress = rest.partition(":")
    if not (platform and egress) or operation not in OPERATIONS:
        operations = ", ".join(OPERATIONS)
        reason = f"{command.breaker!r} is not PLATFORM:OPERATION:EGRESS; operations: {operations}"
        raise refuse_field("$.breaker", reason)
    # Each name is a row, a signal and series of metrics for good.
    if platform not in platforms:
        reason = f"no platform {platform!r}; there are {', '.join(platforms)}"
        raise refuse_field("$.breaker", reason)
    return BreakerOrder(
        platform=platform,
        operation=operation,  # type: ignore[arg-type]  # it is one of them
        egress=egress,
        action="open" if isinstance(command, OpenBreaker) else "reset",
        by=command.by,
        at=at,
    )


@asynccontextmanager
async def open_commands(context: StageContext) -> AsyncIterator[Handler]:
    """Nothing to open."""
    start_at_zero(COMMANDS_TAKEN, KINDS, (TAKEN, REFUSED))
    start_at_zero(COMMANDS_TAKEN, [UNKNOWN], [REFUSED])
    yield Commands(Platforms.load(context.settings.platforms), stage_names()).handle


stage = Stage(name=NAME, sources=(COMMANDS,), open=open_commands, on_bug=on_bug)
