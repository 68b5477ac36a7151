"""Too many dead letters in a short time are no bad luck: the stage that makes them is stopped.

After arroyo's `DlqLimit`. Each process counts for itself; the stop holds in all of them.
"""

import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from schemas.codec import encode
from schemas.signals import INTAKE, IntakeSignal
from streams.deadletters.headers import DeadLetterHeaders, split_headers
from streams.envelope import seal
from streams.records import Effect, Outgoing
from streams.settings import DeadLetterSettings
from streams.topics import DEADLETTERS, REQUESTS, SIGNALS


class LetterLimit:
    """Counts the dead letters that one stage writes, by the step that they are of."""

    def __init__(
        self, settings: DeadLetterSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = settings.limit
        self._seconds = settings.window_seconds
        self._clock = clock
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def stops(self, effects: Sequence[Effect], by: str) -> list[Outgoing]:
        """Return the signals that stop steps which have too many dead letters with these effects.

        What is wrong with a client's own record is not counted: clients could stop the service.
        """
        steps = (facts.step for effect in effects if (facts := _facts_of(effect)) is not None)
        return [self._stop(step, by) for step in steps if self.exceeds(step)]

    def exceeds(self, step: str) -> bool:
        """Count a dead letter; return whether it is one too many. If so, counting begins anew."""
        now, times = self._clock(), self._times[step]
        times.append(now)
        while times[0] < now - self._seconds:
            times.popleft()
        if len(times) <= self._limit:
            return False
        times.clear()
        return True

    def _stop(self, step: str, by: str) -> Outgoing:
        reason = (
            f"{step} stopped: more than {self._limit} dead letters within "
            f"{self._seconds:.0f} s. Look with `clipmill deadletters list --step {step}`, "
            f"then let it go on with `clipmill resume {step}`"
        )
        now = datetime.now(UTC)
        signal = IntakeSignal(paused=True, reason=reason, by=by, at=now)
        return seal(
            SIGNALS,
            f"{INTAKE}{step}",
            encode(signal),
            kind="intake.v1",
            step=by,
            event_id=f"intake:{step}:{now.isoformat()}",
            request_id=step,
            trace_id=secrets.token_hex(16),
        )


def _facts_of(effect: Effect) -> DeadLetterHeaders | None:
    """Return the facts of a dead letter that counts."""
    if not isinstance(effect, Outgoing) or effect.topic is not DEADLETTERS:
        return None
    _, facts = split_headers(effect.headers)
    return None if facts is None or facts.origin_topic == REQUESTS.name else facts
