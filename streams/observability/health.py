"""Health of a process: liveness (the event loop runs) and readiness (every check passes)."""

import time
from collections import deque
from collections.abc import Callable, Mapping

HealthCheck = Callable[[], str | None]
"""Returns the problem, None when healthy."""


WARNING_SECONDS = 3_600.0
"""Time that a warning is reported; longer than any interval at which a person checks an alert."""

WARNINGS_MAX = 200
"""Warnings kept; the oldest are evicted first."""


class Health:
    """Registry of the parts of a process and their health checks.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._checks: dict[str, HealthCheck] = {}
        self._clock = clock
        self._pipeline: Callable[[], Mapping[str, str]] = dict
        self._warnings: deque[tuple[float, str, str]] = deque(maxlen=WARNINGS_MAX)

    def warn(self, part: str, text: str) -> None:
        """Record a past failure of a part; the part stays ready."""
        self._warnings.append((self._clock(), part, text))

    def warnings(self) -> dict[str, list[str]]:
        """Return the warnings of the last hour, by part, without duplicates."""
        since = self._clock() - WARNING_SECONDS
        found: dict[str, dict[str, None]] = {}
        for at, part, text in self._warnings:
            if at >= since:
                found.setdefault(part, {})[text] = None
        return {part: list(texts) for part, texts in found.items()}

    def set_check(self, part: str, check: HealthCheck) -> None:
        """Add or replace the check of a part."""
        self._checks[part] = check

    def set_pipeline_check(self, check: Callable[[], Mapping[str, str]]) -> None:
        """Set the check of the stages of all processes; it returns problems by part.

        It does not affect readiness: a restart of this process would not repair another one.
        """
        self._pipeline = check

    def degraded(self) -> dict[str, str]:
        """Return the problems of the whole pipeline, by part."""
        return dict(self._pipeline())

    def problems(self) -> dict[str, str]:
        """Return the failed checks, by part; empty when ready."""
        found = ((part, check()) for part, check in self._checks.items())
        return {part: problem for part, problem in found if problem}
