"""Back-pressure: a stage starts no record for which a later stage has no room.

The backlog of a later stage is the number of records on its topic that it has not finished:
``end - committed``, less those that are finished ahead of the committed offset. Its limit is
`StageSettings.backlog_seconds` of the stage's own speed, so it is short for a stage that reads four
pages a second and long for one that handles thousands. Higher ranks have a higher limit, so they
pass where lower ones are held back.

A process measures all backlogs at once, every `POLL_SECONDS` while room is short. Between two
measurements each stage counts what it starts, against its share of the room (the shares of all
workers add up to one), and what later stages finish in the same process counts at once. No stage is
held back for ever: see `Meter.holds`.
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
from streams.settings.stage import StageSettings
from streams.topics import READERS, Topic

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Pause between measurements. One costs a request for the ends and one for each later stage."""

CALM_POLLS = 8
"""Polls from one measurement to the next while room is not short: then the speed must be known for
when it is, and the metric must not stand at the last backlog."""

SHORT = 0.25
"""Share of a limit beyond which room is short. A measurement at each poll took a fifth of the CPU
of a process with all stages at 50 requests a second."""

WINDOW_SECONDS = 4.0
"""Over which the speed of a stage is averaged. Offsets of other processes move once a commit, so
shorter windows read several times too much, or nothing."""

WAKE_SECONDS = 0.01
"""Pause between looks at the room that was made within the process."""

STALLED_SECONDS = 60.0
"""A later stage that finishes nothing for so long holds back no other stage: it is not deployed, or
its intake is paused. Long enough for slots that are all taken by long downloads."""

UNKNOWN_SECONDS = 10.0
"""After so long without a measurement nothing is held back."""

WARN_SECONDS = 60.0
"""Pause between log lines while backlogs cannot be measured."""

RETRY_BONUS = URGENT // 2
"""Ranks that are added to what comes back from a delay: what has waited goes before what is new."""


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """How far the readers of a topic are: sums over its partitions.

    Attributes:
        end: records that were ever written.
        finished: records that are finished, committed or not.
        is_late: some are read by other processes, whose commits come later.
    """

    end: int
    finished: int
    is_late: bool = False


class Meter:
    """The backlog in front of one stage, and the speed of that stage.

    Args:
        settings: have the limit.
        commit_seconds: pause between commits of other processes.

    Attributes:
        backlog: records that are not finished: those of the latest measurement, and what this
            process has started and finished since.
        limit: of the backlog.
    """

    def __init__(self, settings: StageSettings, commit_seconds: float = 0.0) -> None:
        self._settings = settings
        self._commit_seconds = commit_seconds
        self._standing: GroupProgress | None = None
        self._at = self._progress_at = 0.0
        self._history: deque[tuple[float, int]] = deque()
        self._measured = 0
        self.backlog = 0
        self.limit = float(settings.backlog_records)

    def observe(self, standing: GroupProgress, now: float) -> None:
        """Take in a measurement."""
        before, self._standing = self._standing, standing
        self._measured = self.backlog = max(0, standing.end - standing.finished)
        self._at = now
        moved = before is None or standing.finished != before.finished
        if moved or not self._measured:
            self._progress_at = now
        if not moved and not self._measured:
            # The speed counts from when there is something to do.
            self._history.clear()
        self._history.append((now, standing.finished))
        while len(self._history) > 1 and self._history[1][0] <= now - WINDOW_SECONDS:
            self._history.popleft()
        # What was finished since the last commit looks unfinished.
        delay = self._commit_seconds + POLL_SECONDS if standing.is_late else 0.0
        seconds = self._settings.backlog_seconds + delay
        self.limit = max(self._settings.backlog_records, self._per_second() * seconds)

    def spend(self, cost: int) -> None:
        """Note that so many records will be written, by a stage of this process."""
        self.backlog += cost

    def finish(self) -> None:
        """Note that the stage, in this process, has finished a record."""
        if self.backlog:
            self.backlog -= 1

    def has_room(self, rank: int, cost: int) -> bool:
        """Return whether so many records of a rank may be put in front of the stage.

        What costs more than the limit is admitted when there is nothing before it.
        """
        return not self.backlog or self.backlog + cost <= self._limit_of(rank)

    def has_share(self, rank: int, spent: int, share: float) -> bool:
        """Return whether one worker may spend so much of the room that was measured."""
        return spent <= share * (self._limit_of(rank) - self._measured)

    def holds(self) -> bool:
        """Return whether a full backlog holds others back; not when nothing moves in the stage."""
        return self._at - self._progress_at < STALLED_SECONDS

    def _limit_of(self, rank: int) -> float:
        return self.limit * (0.5 + rank / URGENT)

    def _per_second(self) -> float:
        if not self._history:
            return 0.0
        (since, first), (now, last) = self._history[0], self._history[-1]
        return max(0, last - first) / (now - since) if now > since else 0.0


class BackPressureGate:
    """The room that one stage of this process may use.

    Args:
        meters: of the topics in front of later stages.
        share: returns which part of the stage's partitions this process has, 0 to 1.
        is_known: returns whether the measurements can be relied on.

    Attributes:
        is_used: something was started since the latest measurement.
        is_short: much of the room is spent since then: a new measurement is due.
        is_blocked: something was not admitted.
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
        self.is_used = self.is_short = self.is_blocked = False

    def admits(self, claim: Claim) -> bool:
        """Return whether there is room for a record on its whole path."""
        if not claim.path:
            return True
        if not self._is_known() or all(self._has_room(topic, claim) for topic in claim.path):
            return True
        self.is_blocked = self.is_short = True
        return False

    def spend(self, claim: Claim) -> None:
        """Note that a record is started, which will take room on its path."""
        for topic in claim.path:
            self._spend(topic, claim.cost)

    def charge(self, effects: Sequence[Effect], claim: Claim) -> None:
        """Note what a record has really put on its path, beyond what it was expected to."""
        written = Counter(each.topic for each in effects if isinstance(each, Outgoing))
        for topic in claim.path:
            self._spend(topic, max(0, written[topic] - claim.cost))

    def measured(self) -> None:
        """Begin to count again: what was spent is part of the backlogs now."""
        self._spent.clear()
        self.is_used = self.is_short = False

    def _spend(self, topic: Topic, cost: int) -> None:
        meter = self._meters.get(topic)
        if meter is None:
            return
        meter.spend(cost)
        self._spent[topic] += cost
        self.is_used = True
        if meter.backlog > SHORT * meter.limit:
            self.is_short = True

    def _has_room(self, topic: Topic, claim: Claim) -> bool:
        meter = self._meters.get(topic)
        if meter is None or not meter.holds():
            return True
        if not meter.has_room(claim.rank, claim.cost):
            return False
        share, spent = self._share(), self._spent[topic]
        # A share of little room may be less than one record, or one slice of a batch.
        return share == 1 or not spent or meter.has_share(claim.rank, spent + claim.cost, share)


Finished = Mapping[Partition, int]
"""The number of records of a partition that are finished, counted from offset 0."""

Measure = Callable[[Finished], Awaitable[Mapping[Topic, GroupProgress]]]
"""Returns how far the readers of all topics with readers are; it is given what is known better."""


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
        self._readers: list[Callable[[], Finished]] = []
        self._waking: asyncio.TimerHandle | None = None
        self._failing_since: float | None = None
        self._warned = -WARN_SECONDS

    def gate(self, share: Callable[[], float]) -> BackPressureGate:
        """Return a gate for a stage, which has a share of the room."""
        return BackPressureGate(self._meters, share, is_known=self._is_known)

    @contextmanager
    def opening(self, gate: BackPressureGate, on_room: Callable[[], object]) -> Iterator[None]:
        """Measure for a gate; ``on_room`` is called after each measurement."""
        self._gates[gate] = on_room
        try:
            yield
        finally:
            del self._gates[gate]

    @contextmanager
    def reading(self, finished: Callable[[], Finished]) -> Iterator[None]:
        """Take in how far a stage of this process is: that is newer than what it has committed."""
        self._readers.append(finished)
        try:
            yield
        finally:
            self._readers.remove(finished)

    def finish(self, topic: Topic) -> None:
        """Note that a stage of this process has finished a record of a topic."""
        meter = self._meters.get(topic)
        if meter is None:
            return
        meter.finish()
        if self._waking is None and any(gate.is_blocked for gate in self._gates):
            loop = asyncio.get_running_loop()
            self._waking = loop.call_later(WAKE_SECONDS, self._wake)

    def _wake(self) -> None:
        self._waking = None
        for gate, on_room in tuple(self._gates.items()):
            if gate.is_blocked:
                gate.is_blocked = False
                on_room()

    async def run(self, measure: Measure) -> None:
        """Measure while room is short, and now and then while gates are used, for ever."""
        for number in count():
            await asyncio.sleep(POLL_SECONDS)
            is_short = any(gate.is_short for gate in self._gates)
            if is_short or (number % CALM_POLLS == 0 and self._is_used()):
                await self.measure_once(measure)

    def _is_used(self) -> bool:
        backlogs = (meter.backlog for meter in self._meters.values())
        return any(backlogs) or any(gate.is_used for gate in self._gates)

    async def measure_once(self, measure: Measure) -> None:
        """Measure, and let the stages use the room."""
        try:
            standings = await measure({k: v for each in self._readers for k, v in each().items()})
        except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
            self._fail(error)
        else:
            self._failing_since = None
            for topic, standing in standings.items():
                self._meters[topic].observe(standing, self._clock())
                BACKLOG.labels(READERS[topic]).set(self._meters[topic].backlog)
            for gate in self._gates:
                gate.measured()
        for gate, on_room in tuple(self._gates.items()):
            gate.is_blocked = False
            on_room()

    def _fail(self, error: Exception) -> None:
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._warned >= WARN_SECONDS:
            self._warned = now
            log.warning(
                "the backlogs of later stages cannot be measured, asking again; after %.0f s"
                " nothing is held back: %r",
                UNKNOWN_SECONDS,
                error,
            )

    def _is_known(self) -> bool:
        since = self._failing_since
        return since is None or self._clock() - since < UNKNOWN_SECONDS
