"""Whether a stage takes records. Several reasons may stop it; it goes on when the last is gone."""

import asyncio
import logging
from collections.abc import Callable

from schemas.codec import MalformedMessageError, decode
from schemas.signals import INTAKE, IntakeSignal
from streams.observability.metrics import INTAKE_PAUSED

log = logging.getLogger(__name__)


class Intake:
    """The gate in front of one stage. What is in work goes on; nothing new comes in.

    Records wait in Kafka meanwhile: the stage keeps its partitions, and its offsets stand still.

    Attributes:
        on_open: called when nothing holds the intake any more.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._reasons: dict[str, str] = {}
        self._open = asyncio.Event()
        self._open.set()
        self.on_open: Callable[[], object] = lambda: None
        INTAKE_PAUSED.labels(stage).set(0)

    @property
    def paused(self) -> bool:
        """Whether something holds the intake."""
        return bool(self._reasons)

    def pause(self, who: str, reason: str) -> None:
        """Stop the intake for a reason, a sentence for people; ``who`` takes it back."""
        if who not in self._reasons:
            log.error("%s takes no more records: %s", self._stage, reason)
        self._reasons[who] = reason
        self._open.clear()
        INTAKE_PAUSED.labels(self._stage).set(1)

    def resume(self, who: str) -> None:
        """Take back the reason of ``who``, if there is one."""
        if self._reasons.pop(who, None) is not None and not self._reasons:
            log.warning("%s takes records again", self._stage)
            self._open.set()
            INTAKE_PAUSED.labels(self._stage).set(0)
            self.on_open()

    async def opened(self) -> None:
        """Return when nothing holds the intake."""
        await self._open.wait()

    def problem(self) -> str | None:
        """Return why no records are taken, None when they are."""
        return "; ".join(self._reasons.values()) or None


def obey(intake: Intake) -> Callable[[str, bytes | None], None]:
    """Return the listener that makes an intake follow the signals for its stage."""

    def listen(_key: str, value: bytes | None) -> None:
        try:
            signal = None if value is None else decode(value, IntakeSignal)
        except MalformedMessageError:
            signal = None
        if signal is not None and signal.paused:
            intake.pause(INTAKE, signal.reason)
        else:
            intake.resume(INTAKE)

    return listen
