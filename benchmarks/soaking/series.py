"""What one process used over time, and the judgement whether that grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from streams.memory import Trend, find_trend

MEBIBYTE = 2**20

FLAT_PER_HOUR = 10.0
"""MiB an hour that count as flat: less cannot be told from chance within some minutes."""

JUDGED_SECONDS_MIN = 120.0
"""A shorter time, in which caches and pools still fill, judges nothing."""

SAMPLES_MAX = 600
"""Of one process; with more every second one is left out."""

APART = ("kafka", "stand-in")
"""Not ours: their figures are shown, and not judged. Kafka's heap grows up to its own limit."""

Verdict = Literal["flat", "grows", "unclear"]


@dataclass(frozen=True)
class Sample:
    """A process at one moment: seconds since the start, MiB, open files, threads."""

    at: float
    rss: float
    uss: float
    files: int
    threads: int


@dataclass
class Series:
    """The samples of one process, thinned so that they stay few."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    _step: int = 1
    _seen: int = 0

    def add(self, sample: Sample) -> None:
        """Take a sample."""
        if self._seen % self._step == 0:
            self.samples.append(sample)
        self._seen += 1
        if len(self.samples) > SAMPLES_MAX:
            self.samples = self.samples[::2]
            self._step *= 2

    def after(self, seconds: float) -> list[Sample]:
        """Return the samples of after so many seconds."""
        return [sample for sample in self.samples if sample.at >= seconds]


@dataclass(frozen=True)
class Figures:
    """What a process used from the end of the warm-up on.

    Attributes:
        name: of the process.
        first: the first sample.
        last: the last sample.
        trend: of the USS in MiB an hour, None when there are too few samples.
    """

    name: str
    first: Sample
    last: Sample
    trend: Trend | None

    @property
    def verdict(self) -> Verdict:
        """``unclear`` after too short a time, or when chance may have made or hidden growth."""
        if self.trend is None or self.last.at - self.first.at < JUDGED_SECONDS_MIN:
            return "unclear"
        if self.trend.high <= FLAT_PER_HOUR:
            return "flat"
        return "grows" if self.trend.low > FLAT_PER_HOUR else "unclear"

    def __str__(self) -> str:
        first, last = self.first, self.last
        return (
            f"  {self.name:14} RSS {first.rss:6.1f} -> {last.rss:6.1f} MiB"
            f"   USS {first.uss:6.1f} -> {last.uss:6.1f} MiB   {_slope(self.trend):38}"
            f" {self.verdict:8} files {first.files} -> {last.files}"
            f"   threads {first.threads} -> {last.threads}"
        )


def figures_of(series: Series, warm_up_seconds: float) -> Figures | None:
    """Return the figures of a process, None when it did not live beyond the warm-up."""
    samples = series.after(warm_up_seconds)
    if not samples:
        return None
    trend = find_trend([(sample.at, sample.uss) for sample in samples])
    return Figures(series.name, samples[0], samples[-1], trend)


def _slope(trend: Trend | None) -> str:
    if trend is None:
        return "too few samples"
    return f"{trend.per_hour:+7.1f} MiB/h ({trend.low:+.1f} to {trend.high:+.1f})"


def grows(figures: Sequence[Figures]) -> list[str]:
    """Return the names of our processes whose memory grows for certain."""
    return [each.name for each in figures if each.verdict == "grows" and each.name not in APART]
