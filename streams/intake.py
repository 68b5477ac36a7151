"""Pause and resume of a stage's consumption. Paused while at least one owner holds a pause."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from schemas.codec import MalformedMessageError, decode
from schemas.signals import INTAKE, IntakeSignal
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import INTAKE_PAUSED

log = logging.getLogger(__name__)


class Intake:
    """Pause switch of one stage. Records in flight are finished; no new ones are started.

    Records wait in Kafka meanwhile: the stage keeps its partitions, and commits no further offsets.

    Attributes:
        on_open: called when the last pause is lifted.
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
        return bool(self._reasons)

    def pause(self, owner: str, reason: str) -> None:
        """Pause for a human-readable reason until the same owner resumes."""
        if owner not in self._reasons:
            log.error("the intake of %s is paused: %s", self._stage, reason)
        self._reasons[owner] = reason
        self._open.clear()
        INTAKE_PAUSED.labels(self._stage).set(1)

    def resume(self, owner: str) -> None:
        """Lift the pause of an owner, if it holds one."""
        if self._reasons.pop(owner, None) is not None and not self._reasons:
            log.warning("the intake of %s is resumed", self._stage)
            self._open.set()
            INTAKE_PAUSED.labels(self._stage).set(0)
            self.on_open()

    async def wait_until_open(self) -> None:
        await self._open.wait()

    def problem(self) -> str | None:
        """Return why consumption is paused, None when it is not."""
        return "; ".join(self._reasons.values()) or None

    def following(self, shared_state: SharedState) -> AbstractContextManager[None]:
        """Return a context in which the `IntakeSignal` of the stage pauses and resumes."""
        return shared_state.listen(f"{INTAKE}{self._stage}", self._apply)

    def _apply(self, _key: str, value: bytes | None) -> None:
        """Apply a signal; a tombstone or a malformed value resumes."""
        try:
            signal = None if value is None else decode(value, IntakeSignal)
        except MalformedMessageError:
            signal = None
        if signal is not None and signal.paused:
            self.pause(INTAKE, signal.reason)
        else:
            self.resume(INTAKE)
