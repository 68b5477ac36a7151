"""Resource usage of one process over time, and the verdict whether its memory grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from streams.memory.trend import Trend, find_trend

MEBIBYTE = 2**20

FLAT_PER_HOUR = 10.0
"""MiB per hour that count as flat: less is indistinguishable from noise within minutes."""

JUDGED_SECONDS_MIN = 120.0
"""Minimum duration for a verdict: caches and pools still fill before."""

SAMPLES_MAX = 600
"""Maximum samples of one process; beyond it every second one is dropped."""

REFERENCES = ("kafka", "stand-in", "load")
"""Processes other than clipmill's: shown without a verdict. Kafka's heap grows to its own limit."""

Verdict = Literal["flat", "grows", "unclear"]


@dataclass(frozen=True)
class Sample:
    """A sample of a process: seconds since the start, CPU seconds, MiB, open files, threads."""

    at: float
    cpu: float
    rss: float
    uss: float
    files: int
    threads: int


@dataclass
class Series:
    """The samples of one process, downsampled to stay within `SAMPLES_MAX`."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    _step: int = 1
    _seen: int = 0

    def add(self, sample: Sample) -> None:
        if self._seen % self._step == 0:
            self.samples.append(sample)
        self._seen += 1
        if len(self.samples) > SAMPLES_MAX:
            self.samples = self.samples[::2]
            self._step *= 2

    def after(self, seconds: float) -> list[Sample]:
        """Return the samples from this second on."""
        return [sample for sample in self.samples if sample.at >= seconds]


@dataclass(frozen=True)
class Figures:
    """Resource usage of a process from the end of the warm-up on.

    Attributes:
        name: of the process.
        first: the first sample.
        last: the last sample.
        trend: of the USS in MiB per hour, None when there are too few samples.
        cpu_share: of one core, while the load lasted.
    """

    name: str
    first: Sample
    last: Sample
    trend: Trend | None
    cpu_share: float

    @property
    def verdict(self) -> Verdict:
        """``unclear`` after too short a time, or when noise may cause or hide growth."""
        if self.trend is None or self.last.at - self.first.at < JUDGED_SECONDS_MIN:
            return "unclear"
        if self.trend.high <= FLAT_PER_HOUR:
            return "flat"
        return "grows" if self.trend.low > FLAT_PER_HOUR else "unclear"

    def __str__(self) -> str:
        first, last = self.first, self.last
        return (
            f"  {self.name:14} CPU {self.cpu_share:6.1%}"
            f"   RSS {first.rss:6.1f} -> {last.rss:6.1f} MiB"
            f"   USS {first.uss:6.1f} -> {last.uss:6.1f} MiB   {_slope(self.trend):38}"
            f" {self.verdict:8} files {first.files} -> {last.files}"
            f"   threads {first.threads} -> {last.threads}"
        )


def figures_of(series: Series, warm_up_seconds: float, load_seconds: float) -> Figures | None:
    """Return the figures of a process, None when it ended during the warm-up."""
    samples = series.after(warm_up_seconds)
    if not samples:
        return None
    trend = find_trend([(sample.at, sample.uss) for sample in samples])
    share = _cpu_share([sample for sample in samples if sample.at <= load_seconds])
    return Figures(series.name, samples[0], samples[-1], trend, share)


def _cpu_share(samples: Sequence[Sample]) -> float:
    if len(samples) < 2:
        return 0.0
    first, last = samples[0], samples[-1]
    return (last.cpu - first.cpu) / (last.at - first.at)


def _slope(trend: Trend | None) -> str:
    if trend is None:
        return "too few samples"
    return f"{trend.per_hour:+7.1f} MiB/h ({trend.low:+.1f} to {trend.high:+.1f})"


def grows(figures: Sequence[Figures]) -> list[str]:
    """Return the names of our processes whose memory certainly grows."""
    return [
        each.name for each in figures if each.verdict == "grows" and each.name not in REFERENCES
    ]
