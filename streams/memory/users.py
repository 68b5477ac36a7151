"""The open stages of a process, as those who use its memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from streams.intake import Intake

PAUSE_OWNER = "memory"
"""Holds the intakes."""

log = logging.getLogger(__name__)


class MemoryUsers:
    """What can be done about memory: let go of caches, stop and start the intakes."""

    def __init__(self) -> None:
        self._open: dict[Intake, Sequence[Callable[[], None]]] = {}
        self._reason: str | None = None

    @contextmanager
    def using(self, intake: Intake, reliefs: Sequence[Callable[[], None]]) -> Iterator[None]:
        """Count a stage among the users while it is open; one that opens in a pause waits too.

        Args:
            intake: of the stage.
            reliefs: let go of what can be had again; may still grow.
        """
        self._open[intake] = reliefs
        if self._reason is not None:
            intake.pause(PAUSE_OWNER, self._reason)
        try:
            yield
        finally:
            del self._open[intake]

    def relieve(self) -> None:
        """Have all stages let go of what can be had again; one that fails holds up no other."""
        for reliefs in self._open.values():
            for relief in reliefs:
                try:
                    relief()
                except Exception:
                    log.exception("a relief failed, the memory that it would free stays in use")

    def pause(self, reason: str) -> None:
        """Stop all intakes, now and of stages that open later, for a reason for people."""
        self._reason = reason
        for intake in self._open:
            intake.pause(PAUSE_OWNER, reason)

    def resume(self) -> None:
        """Start all intakes, as far as memory is concerned."""
        self._reason = None
        for intake in self._open:
            intake.resume(PAUSE_OWNER)

    def problem(self) -> str | None:
        """Return why the intakes are stopped, None when they are not."""
        return self._reason
