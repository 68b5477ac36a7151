"""Registry of the open stages of a process, on which the memory monitor acts."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from streams.intake import Intake

PAUSE_OWNER = "memory"
"""Owner of the pauses."""

log = logging.getLogger(__name__)


class MemoryUsers:
    """Drops the caches and pauses or resumes the intakes of all open stages."""

    def __init__(self) -> None:
        self._open: dict[Intake, Sequence[Callable[[], None]]] = {}
        self._reason: str | None = None

    @contextmanager
    def registered(self, intake: Intake, callbacks: Sequence[Callable[[], None]]) -> Iterator[None]:
        """Register a stage within the block; one that opens during a pause is paused too.

        Args:
            intake: intake of the stage.
            callbacks: drop cached data; the sequence may still grow.
        """
        self._open[intake] = callbacks
        if self._reason is not None:
            intake.pause(PAUSE_OWNER, self._reason)
        try:
            yield
        finally:
            del self._open[intake]

    def drop_caches(self) -> None:
        """Call the callbacks of all stages; a failing one does not stop the others."""
        for callbacks in self._open.values():
            for callback in callbacks:
                try:
                    callback()
                except Exception:
                    log.exception("a cache release failed, its memory stays in use")

    def pause(self, reason: str) -> None:
        """Pause the intakes of all stages, also of those that open later; human-readable reason."""
        self._reason = reason
        for intake in self._open:
            intake.pause(PAUSE_OWNER, reason)

    def resume(self) -> None:
        """Lift the memory pause of all intakes."""
        self._reason = None
        for intake in self._open:
            intake.resume(PAUSE_OWNER)

    def problem(self) -> str | None:
        """Return why the intakes are paused, None when they are not."""
        return self._reason
