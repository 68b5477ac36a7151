"""Dead-letter limit: pauses a stage that produces too many dead letters within a time window.

After arroyo's `DlqLimit`. Counted per process; the pause applies in all of them.
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


class DeadLetterLimit:
    """Sliding-window counters of the dead letters that one stage writes, by failed stage."""

    def __init__(
        self, settings: DeadLetterSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = settings.limit
        self._seconds = settings.window_seconds
        self._clock = clock
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def pause_signals(self, effects: Sequence[Effect], by: str) -> list[Outgoing]:
        """Count the dead letters among effects; return pause signals for stages over the limit.

        Dead letters of client requests do not count: clients could stop the service.
        """
        dead_letters = [
            each for each in effects if isinstance(each, Outgoing) and each.topic is DEADLETTERS
        ]
        stages = (counted.step for each in dead_letters if (counted := _counted(each)) is not None)
        return [self._pause_signal(stage, by) for stage in stages if self.record_and_check(stage)]

    def record_and_check(self, stage: str) -> bool:
        """Count a dead letter; return whether the limit is exceeded, which resets the counter."""
        now, times = self._clock(), self._times[stage]
        times.append(now)
        while times[0] < now - self._seconds:
            times.popleft()
        if len(times) <= self._limit:
            return False
        times.clear()
        return True

    def _pause_signal(self, stage: str, by: str) -> Outgoing:
        reason = (
            f"the intake of {stage} is paused: more than {self._limit} dead letters within "
            f"{self._seconds:.0f} s. List them with `clipmill deadletters list --step {stage}`, "
            f"then resume it with `clipmill resume {stage}`"
        )
        now = datetime.now(UTC)
        signal = IntakeSignal(paused=True, reason=reason, by=by, at=now)
        return seal(
            SIGNALS,
            f"{INTAKE}{stage}",
            encode(signal),
            kind="intake.v1",
            step=by,
            event_id=f"intake:{stage}:{now.isoformat()}",
            request_id=stage,
            trace_id=secrets.token_hex(16),
        )


def _counted(dead_letter: Outgoing) -> DeadLetterHeaders | None:
    """Return the metadata of a dead letter that counts for the limit."""
    _, metadata = split_headers(dead_letter.headers)
    return None if metadata is None or metadata.origin_topic == REQUESTS.name else metadata
