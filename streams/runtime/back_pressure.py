"""Back-pressure: a stage starts no record for which a later stage lacks capacity.

The backlog of a later stage is the number of unfinished records on its topic: ``end - committed``,
less those finished ahead of the committed offset. Its limit is `StageSettings.backlog_seconds` of
the stage's own speed, so it is low for a stage that reads four pages a second and high for one that
handles thousands. Higher ranks have a higher limit, so they pass where lower ones are blocked.

A process measures all backlogs at once, every `POLL_SECONDS` while capacity is scarce. Between two
measurements each stage counts the records that it starts, against its share of the capacity (the
shares of all workers add up to one); records that later stages finish in the same process count at
once. A stage is never blocked for good: see `Meter.is_progressing`.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from streams.claims import Claim
from streams.observability.metrics import BACKLOG
from streams.priority_queue import URGENT
from streams.records import Effect, Outgoing
from streams.runtime.offset_tracker import Partition
from streams.settings.worker import StageSettings
from streams.topics import READERS, Topic

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Pause between measurements. One costs a request for the end offsets and one for each later
stage."""

IDLE_POLLS = 8
"""Polls from one measurement to the next while capacity is not scarce. The speed must be known when
it becomes scarce, and the metric must not keep an old backlog."""

SCARCE_SHARE = 0.25
"""Share of a limit beyond which capacity is scarce. A measurement at each poll took a fifth of the
CPU of a process with all stages at 50 requests a second."""

WINDOW_SECONDS = 4.0
"""Averaging window of a stage's speed. Offsets of other processes move once a commit, so shorter
windows measure several times too much, or nothing."""

WAKE_SECONDS = 0.01
"""Debounce of wake-ups after a later stage in this process has finished records."""

STALLED_SECONDS = 60.0
"""A later stage that finishes nothing for this long blocks no other stage: it is not deployed, or
its intake is paused. Long enough for slots that are all taken by long downloads."""

UNKNOWN_SECONDS = 10.0
"""Time without a measurement after which back-pressure is off."""

WARN_SECONDS = 60.0
"""Pause between log lines while backlogs cannot be measured."""

NONE_CHAINED: Mapping[Topic, int] = {}

RETRY_BONUS = URGENT // 2
"""Ranks that are added to delayed records: retries go before new records."""


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """Progress of the group that reads a topic: sums over its partitions.

    Attributes:
        end: records ever written.
        finished: finished records, committed or not.
        is_remote: other processes read some partitions, so their progress is known by commits only.
    """

    end: int
    finished: int
    is_remote: bool = False


class Meter:
    """The backlog in front of one stage, and the speed of that stage.

    Args:
        settings: backlog limits.
        commit_seconds: commit interval of other processes.

    Attributes:
        backlog: unfinished records: those of the latest measurement, plus those started and less
            those finished by this process since.
        limit: maximum of the backlog at the middle rank.
    """

    def __init__(self, settings: StageSettings, commit_seconds: float = 0.0) -> None:
        self._settings = settings
        self._commit_seconds = commit_seconds
        self._progress: GroupProgress | None = None
        self._at = self._progress_at = 0.0
        self._history: deque[tuple[float, int]] = deque()
        self._measured = 0
        self.backlog = 0
        self.limit = float(settings.backlog_records)

    def observe(self, progress: GroupProgress, now: float) -> None:
        before, self._progress = self._progress, progress
        self._measured = self.backlog = max(0, progress.end - progress.finished)
        self._at = now
        moved = before is None or progress.finished != before.finished
        if moved or not self._measured:
            self._progress_at = now
        if not moved and not self._measured:
            # Idle time must not count as low speed.
            self._history.clear()
        self._history.append((now, progress.finished))
        while len(self._history) > 1 and self._history[1][0] <= now - WINDOW_SECONDS:
            self._history.popleft()
        # Records finished since another process's last commit look unfinished.
        delay = self._commit_seconds + POLL_SECONDS if progress.is_remote else 0.0
        seconds = self._settings.backlog_seconds + delay
        self.limit = max(self._settings.backlog_records, self._per_second() * seconds)

    def spend(self, cost: int) -> None:
        """Count records that a stage of this process will write."""
        self.backlog += cost

    def finish(self, count: int = 1) -> None:
        """Count records that the later stage has finished in this process."""
        self.backlog = max(0, self.backlog - count)

    def has_capacity(self, rank: int, cost: int) -> bool:
        """Return whether the backlog may grow by ``cost`` records of a rank.

        A cost above the limit is admitted when the backlog is empty.
        """
        return not self.backlog or self.backlog + cost <= self._limit_of(rank)

    def has_share(self, rank: int, spent: int, share: float) -> bool:
        """Return whether one worker may spend ``spent`` of the measured capacity."""
        return spent <= share * (self._limit_of(rank) - self._measured)

    def is_progressing(self) -> bool:
        """Return whether a full backlog blocks other stages: not if the stage finishes nothing."""
        return self._at - self._progress_at < STALLED_SECONDS

    def _limit_of(self, rank: int) -> float:
        return self.limit * (0.5 + rank / URGENT)

    def _per_second(self) -> float:
        if not self._history:
            return 0.0
        (since, first), (now, last) = self._history[0], self._history[-1]
        return max(0, last - first) / (now - since) if now > since else 0.0


class BackPressureGate:
    """The admission gate of one stage of this process.

    Args:
        meters: meters of the later stages, by topic.
        share: returns the process's part of the stage's partitions, 0 to 1.
        is_known: returns whether the measurements are reliable.

    Attributes:
        is_used: a record was started since the latest measurement.
        is_scarce: capacity is scarce since then: a new measurement is due.
        is_blocked: a record was not admitted.
    """

    def __init__(
        self,
        meters: Mapping[Topic, Meter],
        share: Callable[[], float],
        *,
        is_known: Callable[[], bool] = lambda: True,
    ) -> None:
        self._meters = meters
        self._share = share
        self._is_known = is_known
        self._spent: Counter[Topic] = Counter()
        self.is_used = self.is_scarce = self.is_blocked = False

    def admits(self, claim: Claim) -> bool:
        """Return whether the whole path of a record has capacity for it."""
        if not claim.path:
            return True
        if not self._is_known() or all(self._has_capacity(topic, claim) for topic in claim.path):
            return True
        self.is_blocked = self.is_scarce = True
        return False

    def spend(self, claim: Claim, chained: Mapping[Topic, int] = NONE_CHAINED) -> None:
        """Count a started record against the capacity of its path.

        ``chained`` is the number of its events by topic that are not written.
        """
        for topic in claim.path:
            self._spend(topic, max(0, claim.cost - chained.get(topic, 0)))

    def refund(self, claim: Claim, chained: Mapping[Topic, int]) -> None:
        """Give back what `spend` has counted for events that were not written."""
        for topic in claim.path:
            meter, count = self._meters.get(topic), min(claim.cost, chained.get(topic, 0))
            if meter is not None and count:
                meter.finish(count)

    def charge(self, effects: Sequence[Effect], claim: Claim) -> None:
        """Count the effects of a record beyond its expected cost."""
        written = Counter(each.topic for each in effects if isinstance(each, Outgoing))
        for topic in claim.path:
            self._spend(topic, max(0, written[topic] - claim.cost))

    def reset_spent(self) -> None:
        """Start counting again: the measured backlogs include all records written before."""
        self._spent.clear()
        self.is_used = self.is_scarce = False

    def _spend(self, topic: Topic, cost: int) -> None:
        meter = self._meters.get(topic)
        if meter is None:
            return
        meter.spend(cost)
        self._spent[topic] += cost
        self.is_used = True
        if meter.backlog > SCARCE_SHARE * meter.limit:
            self.is_scarce = True

    def _has_capacity(self, topic: Topic, claim: Claim) -> bool:
        meter = self._meters.get(topic)
        if meter is None or not meter.is_progressing():
            return True
        if not meter.has_capacity(claim.rank, claim.cost):
            return False
        share, spent = self._share(), self._spent[topic]
        # A share of little capacity may be less than one record, or one slice of a batch.
        return share == 1 or not spent or meter.has_share(claim.rank, spent + claim.cost, share)


FinishedCounts = Mapping[Partition, int]
"""Number of finished records of a partition, counted from offset 0."""

Measure = Callable[[FinishedCounts], Awaitable[Mapping[Topic, GroupProgress]]]
"""Returns the progress of all reading groups, given the finished offsets of local partitions."""


class BackPressure:
    """The meters of a process, and the gates of its stages."""

    def __init__(
        self,
        settings: StageSettings,
        *,
        commit_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._meters = {topic: Meter(settings, commit_seconds) for topic in READERS}
        self._gates: dict[BackPressureGate, Callable[[], object]] = {}
        self._readers: list[Callable[[], FinishedCounts]] = []
        self._wake_timer: asyncio.TimerHandle | None = None
        self._failing_since: float | None = None
        self._warned = -WARN_SECONDS

    def gate(self, share: Callable[[], float]) -> BackPressureGate:
        """Return a gate for a stage with a share of the capacity."""
        return BackPressureGate(self._meters, share, is_known=self._is_known)

    @contextmanager
    def register_gate(
        self, gate: BackPressureGate, on_capacity: Callable[[], object]
    ) -> Iterator[None]:
        """Measure for a gate during the block; call ``on_capacity`` after each measurement."""
        self._gates[gate] = on_capacity
        try:
            yield
        finally:
            del self._gates[gate]

    @contextmanager
    def register_reader(self, finished: Callable[[], FinishedCounts]) -> Iterator[None]:
        """Measure with a local stage's finished offsets, which are newer than its commits."""
        self._readers.append(finished)
        try:
            yield
        finally:
            self._readers.remove(finished)

    def finish(self, topic: Topic, count: int = 1) -> None:
        """Count records of a topic that a stage of this process has finished."""
        meter = self._meters.get(topic)
        if meter is None:
            return
        meter.finish(count)
        if self._wake_timer is None and any(gate.is_blocked for gate in self._gates):
            loop = asyncio.get_running_loop()
            self._wake_timer = loop.call_later(WAKE_SECONDS, self._wake)

    def _wake(self) -> None:
        self._wake_timer = None
        for gate, on_capacity in tuple(self._gates.items()):
            if gate.is_blocked:
                gate.is_blocked = False
                on_capacity()

    async def run(self, measure: Measure) -> None:
        """Measure often while capacity is scarce, seldom while gates are used, until cancelled."""
        for number in count():
            await asyncio.sleep(POLL_SECONDS)
            is_scarce = any(gate.is_scarce for gate in self._gates)
            if is_scarce or (number % IDLE_POLLS == 0 and self._is_used()):
                await self.measure_once(measure)

    def _is_used(self) -> bool:
        backlogs = (meter.backlog for meter in self._meters.values())
        return any(backlogs) or any(gate.is_used for gate in self._gates)

    async def measure_once(self, measure: Measure) -> None:
        """Measure, and notify all gates."""
        try:
            progress_by_topic = await measure(
                {k: v for each in self._readers for k, v in each().items()}
            )
        except Exception as error:  # noqa: BLE001  (an outage; retried)
            self._fail(error)
        else:
            self._failing_since = None
            for topic, progress in progress_by_topic.items():
                self._meters[topic].observe(progress, self._clock())
                BACKLOG.labels(READERS[topic]).set(self._meters[topic].backlog)
            for gate in self._gates:
                gate.reset_spent()
        for gate, on_capacity in tuple(self._gates.items()):
            gate.is_blocked = False
            on_capacity()

    def _fail(self, error: Exception) -> None:
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._warned >= WARN_SECONDS:
            self._warned = now
            log.warning(
                "the backlogs of later stages cannot be measured, retrying; after %.0f s"
                " nothing is held back: %r",
                UNKNOWN_SECONDS,
                error,
            )

    def _is_known(self) -> bool:
        since = self._failing_since
        return since is None or self._clock() - since < UNKNOWN_SECONDS
