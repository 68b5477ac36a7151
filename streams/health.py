"""Health of a process: alive (the loop turns) and ready (every part can work)."""

from collections.abc import Callable

Check = Callable[[], str | None]
"""Returns what is wrong, None when all is well."""


class Health:
    """The parts of a process, each with a function that says what is wrong with it."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def watch(self, part: str, check: Check) -> None:
        """Add a part, or replace its check."""
        self._checks[part] = check

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by part; empty when ready."""
        found = ((part, check()) for part, check in self._checks.items())
        return {part: problem for part, problem in found if problem}
