"""Health of a process: alive (the loop turns) and ready (every part can work)."""

import time
from collections import deque
from collections.abc import Callable, Mapping

Check = Callable[[], str | None]
"""Returns what is wrong, None when all is well."""


WARNING_SECONDS = 3_600.0
"""How long a warning is shown. Longer than any interval at which a person looks at an alert."""

WARNINGS_MAX = 200
"""Warnings kept at a time; the oldest are dropped first."""


class Health:
    """The parts of a process, each with a function that says what is wrong with it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._checks: dict[str, Check] = {}
        self._clock = clock
        self._pipeline: Callable[[], Mapping[str, str]] = dict
        self._warnings: deque[tuple[float, str, str]] = deque(maxlen=WARNINGS_MAX)

    def warn(self, part: str, text: str) -> None:
        """Show what went wrong in a part and is over; the part stays ready."""
        self._warnings.append((self._clock(), part, text))

    def warnings(self) -> dict[str, list[str]]:
        """Return the warnings of the last hour, by part, without repeats."""
        since = self._clock() - WARNING_SECONDS
        found: dict[str, dict[str, None]] = {}
        for at, part, text in self._warnings:
            if at >= since:
                found.setdefault(part, {})[text] = None
        return {part: list(texts) for part, texts in found.items()}

    def watch(self, part: str, check: Check) -> None:
        """Add a part, or replace its check."""
        self._checks[part] = check

    def watch_pipeline(self, check: Callable[[], Mapping[str, str]]) -> None:
        """Set the check of the stages of all processes; it returns what is wrong, by part.

        This process stays ready: its restart would not mend another one.
        """
        self._pipeline = check

    def degraded(self) -> dict[str, str]:
        """Return what is wrong with the pipeline as a whole, by part."""
        return dict(self._pipeline())

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by part; empty when ready."""
        found = ((part, check()) for part, check in self._checks.items())
        return {part: problem for part, problem in found if problem}
