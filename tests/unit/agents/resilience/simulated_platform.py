"""A platform, and workers that ask it as fast as the monitor allows: events in simulated time."""

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
    """Refuse what is more than so many admitted requests within the last second."""
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
    chance = random.Random(seed)
    return lambda _now: chance.random() < share


def storm(begin: float, seconds: float) -> Platform:
    """Refuse everything for a while."""
    return lambda now: begin <= now < begin + seconds


@dataclass
class Run:
    """What the workers did.

    Attributes:
        row: the rate at the end.
        asked: second and refusal of each request.
        allowed: second and rate after each outcome.
    """

    row: AdaptiveRate
    asked: list[tuple[float, bool]] = field(default_factory=list)
    allowed: list[tuple[float, float]] = field(default_factory=list)

    def refused(self, begin: float, end: float) -> int:
        """Return how many requests of a period were refused."""
        return sum(refused for at, refused in self.asked if begin <= at < end)

    def admitted_per_second(self, begin: float, end: float) -> float:
        """Return the throughput of a period."""
        return sum(not refused for at, refused in self.asked if begin <= at < end) / (end - begin)

    def refused_share(self, begin: float, end: float) -> float:
        """Return the share of the requests of a period that were refused."""
        return self.refused(begin, end) / sum(begin <= at < end for at, _ in self.asked)

    def lowest(self) -> float:
        """Return the lowest rate that was allowed."""
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
) -> Run:
    """Ask a platform for some time, at the allowed rate and no faster than the demand."""
    run, known = Run(row), row
    numbers = count()
    sent = begin
    ends: list[tuple[float, int, bool, AdaptiveRate]] = []
    published: deque[tuple[float, AdaptiveRate]] = deque()
    while sent < begin + seconds:
        while ends and ends[0][0] <= sent:
            now, number, refused, then = heappop(ends)
            code = ErrorCode.RATE_LIMIT_API if refused else None
            told = attempt(f"v{number}", code, at=now, seconds=latency, cuts=then.cuts)
            run.row = adapt(run.row, told, rules, now)
            run.allowed.append((now, rate_of(run.row, rules)))
            published.append((now + SIGNAL_SECONDS, run.row))
        while published and published[0][0] <= sent:
            known = published.popleft()[1]
        refused = platform(sent)
        run.asked.append((sent, refused))
        heappush(ends, (sent + latency, next(numbers), refused, known))
        sent += 1 / min(demand, rate_of(known, rules))
    return run
