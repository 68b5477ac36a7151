"""When a broker that died is started again, and when that is hopeless."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Restart at once, then ever later; give up after too many short lives in a row.

    Attributes:
        short_life_seconds: a process that lived less, or never got ready, had a short life.
        max_short_lives: with this many short lives in a row the broker is given up.
        first_delay_seconds: wait after the first short life; doubles with each further one.
        max_delay_seconds: the longest wait.
    """

    short_life_seconds: float = 10.0
    max_short_lives: int = 5
    first_delay_seconds: float = 0.2
    max_delay_seconds: float = 5.0

    def count(self, short_lives: int, lived_seconds: float, *, was_ready: bool) -> int:
        """Short lives in a row after one more death."""
        is_short = not was_ready or lived_seconds < self.short_life_seconds
        return short_lives + 1 if is_short else 0

    def delay(self, short_lives: int) -> float | None:
        """Seconds to wait before the next start; None to give up."""
        if short_lives >= self.max_short_lives:
            return None
        if short_lives == 0:
            return 0.0
        return min(self.first_delay_seconds * 2.0 ** (short_lives - 1), self.max_delay_seconds)
