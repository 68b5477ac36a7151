"""Simulated platform, and workers that call it at the rate that the monitor allows."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from agents.resilience.adaptive_rate import AdaptiveRate, RateRules, rate_of
from agents.resilience.aimd import adapt
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import attempt

Platform = Callable[[float], bool]
"""Returns whether a request at a second is refused with 429."""

SIGNAL_SECONDS = 0.05
"""Delay until a worker uses a rate that the monitor has published."""


def fixed_limit(per_second: float) -> Platform:
    """Refuse requests above so many admitted ones within the last second."""
    admitted = deque[float]()

    def refuses(now: float) -> bool:
        while admitted and admitted[0] <= now - 1:
            admitted.popleft()
        if len(admitted) >= per_second:
            return True
        admitted.append(now)
        return False

    return refuses


def random_refusals(share: float, seed: int) -> Platform:
    """Refuse a share of all requests at random, whatever their rate."""
    generator = random.Random(seed)
    return lambda _now: generator.random() < share


def outage(begin: float, seconds: float) -> Platform:
    """Refuse all requests for so many seconds."""
    return lambda now: begin <= now < begin + seconds


@dataclass
class SimulationRun:
    """Requests and rates of a simulation.

    Attributes:
        row: the rate at the end.
        requests: time and refusal of each request.
        allowed: time and rate after each outcome.
    """

    row: AdaptiveRate
    requests: list[tuple[float, bool]] = field(default_factory=list)
    allowed: list[tuple[float, float]] = field(default_factory=list)

    def refused(self, begin: float, end: float) -> int:
        return sum(refused for at, refused in self.requests if begin <= at < end)

    def admitted_per_second(self, begin: float, end: float) -> float:
        """Return the throughput of a period, refused requests left out."""
        return sum(not refused for at, refused in self.requests if begin <= at < end) / (
            end - begin
        )

    def refused_share(self, begin: float, end: float) -> float:
        return self.refused(begin, end) / sum(begin <= at < end for at, _ in self.requests)

    def lowest(self) -> float:
        return min(rate for _, rate in self.allowed)


def simulate(
    platform: Platform,
    row: AdaptiveRate,
    rules: RateRules,
    *,
    begin: float,
    seconds: float,
    demand: float,
    latency: float = 0.1,
) -> SimulationRun:
    """Call a platform for so many seconds, at the lower of the allowed rate and the demand."""
    run, seen_by_workers = SimulationRun(row), row
    numbers = count()
    sent = begin
    ends: list[tuple[float, int, bool, AdaptiveRate]] = []
    published: deque[tuple[float, AdaptiveRate]] = deque()
    while sent < begin + seconds:
        while ends and ends[0][0] <= sent:
            now, number, refused, rate_at_start = heappop(ends)
            code = ErrorCode.RATE_LIMIT_API if refused else None
            report = attempt(f"v{number}", code, at=now, seconds=latency, cuts=rate_at_start.cuts)
            run.row = adapt(run.row, report, rules, now)
            run.allowed.append((now, rate_of(run.row, rules)))
            published.append((now + SIGNAL_SECONDS, run.row))
        while published and published[0][0] <= sent:
            seen_by_workers = published.popleft()[1]
        refused = platform(sent)
        run.requests.append((sent, refused))
        heappush(ends, (sent + latency, next(numbers), refused, seen_by_workers))
        sent += 1 / min(demand, rate_of(seen_by_workers, rules))
    return run
