"""Outcomes, series and verdicts of the soak; the run itself is an acceptance test."""

import itertools
import json
import os
import random
from collections import Counter
from dataclasses import replace

import psutil
import pytest

from benchmarks.soaking.driving import Throughput
from benchmarks.soaking.load import (
    KINDS,
    OPEN_SECONDS,
    REPEAT_SECONDS,
    ROUND,
    SoakRequest,
    mixed_load,
)
from benchmarks.soaking.outcomes import Outcomes
from benchmarks.soaking.sampling import ProcessSampler
from benchmarks.soaking.series import (
    FLAT_PER_HOUR,
    JUDGED_SECONDS_MIN,
    SAMPLES_MAX,
    Sample,
    Series,
    Verdict,
    figures_of,
    grows,
)

RATE = 15.0


def series(per_hour: float, noise: float = 0.1, seconds: float = 1_200) -> Series:
    """Return a series, sampled every five seconds, that grows by this many MiB an hour."""
    rng, found = random.Random(7), Series("worker")
    for n in range(int(seconds / 5)):
        uss = 80 + per_hour * n * 5 / 3_600 + rng.gauss(0, noise)
        found.add(Sample(n * 5.0, n * 2.0, uss + 20, uss, 70 + n % 2, 18))
    return found


@pytest.mark.parametrize(
    ("per_hour", "noise", "verdict"),
    [
        (0, 0.1, "flat"),
        (FLAT_PER_HOUR / 2, 0.1, "flat"),
        (-50, 0.1, "flat"),
        (60, 0.1, "grows"),
        (60, 2.0, "grows"),
        (0, 20.0, "unclear"),
    ],
)
def test_verdict_follows_from_growth_and_noise(
    per_hour: float, noise: float, verdict: Verdict
) -> None:
    figures = figures_of(series(per_hour, noise), 300, 1_200)
    assert figures is not None
    assert figures.verdict == verdict
    assert grows([figures]) == (["worker"] if verdict == "grows" else [])


def test_growth_of_other_processes_is_ignored() -> None:
    figures = figures_of(Series("kafka", series(60).samples), 300, 1_200)
    assert figures is not None
    assert figures.verdict == "grows"
    assert grows([figures]) == []


def test_warm_up_is_ignored() -> None:
    early = series(0)
    early.samples[:60] = [Sample(n * 5.0, 0, 0, n, 0, 0) for n in range(60)]
    figures = figures_of(early, 300, 1_200)
    assert figures is not None
    assert figures.verdict == "flat"
    assert figures.first.at == 300


def test_process_shorter_than_the_warm_up_has_no_figures() -> None:
    assert figures_of(series(0, seconds=100), 300, 1_200) is None


def test_short_series_is_unclear() -> None:
    figures = figures_of(series(5_000, seconds=JUDGED_SECONDS_MIN), 0, 1_200)
    assert figures is not None
    assert figures.verdict == "unclear"


def test_few_samples_are_unclear() -> None:
    figures = figures_of(series(500, seconds=20), 0, 1_200)
    assert figures is not None
    assert (figures.verdict, "too few samples" in str(figures)) == ("unclear", True)


def test_line_has_all_figures() -> None:
    line = str(figures_of(series(60), 300, 1_200))
    for part in ("worker", "RSS", "USS", "MiB/h", "grows", "files 70 -> 71", "threads 18 -> 18"):
        assert part in line


def test_samples_are_bounded_and_cover_the_whole_time() -> None:
    long = series(60, seconds=5 * 5_000)
    assert SAMPLES_MAX / 3 < len(long.samples) <= SAMPLES_MAX
    assert long.samples[0].at == 0
    assert long.samples[-1].at > 5 * 4_900
    gaps = {later.at - earlier.at for earlier, later in itertools.pairwise(long.samples)}
    assert len(gaps) == 1


def test_cpu_share_counts_the_load_only() -> None:
    samples = [Sample(n * 5.0, min(n, 100) * 2.0, 0, 0, 0, 0) for n in range(200)]
    figures = figures_of(Series("worker", samples), 300, 500)
    assert figures is not None
    assert figures.cpu_share == pytest.approx(0.4)
    assert "CPU  40.0%" in str(figures)


def test_cpu_share_of_one_sample_is_zero() -> None:
    figures = figures_of(Series("worker", [Sample(300, 5, 0, 0, 0, 0)]), 300, 500)
    assert figures is not None
    assert figures.cpu_share == 0


# Load


def two_of_a_kind(kind: str) -> list[SoakRequest]:
    requests = (each for each in mixed_load("a", RATE) if each.kind == kind)
    return list(itertools.islice(requests, 2))


def test_round_has_every_kind_by_its_weight() -> None:
    requests = itertools.islice(mixed_load("a", RATE), 3 * ROUND)
    counts = Counter(each.kind for each in requests)
    assert counts == {kind.name: 3 * kind.weight for kind in KINDS}


def test_request_ids_are_unique_and_derived_from_the_record() -> None:
    names = set[str]()
    for request in itertools.islice(mixed_load("a", RATE), 500):
        body = json.loads(request.value)
        members = len(body.get("urls", ()))
        expected = {f"{body['id']}/{n}" for n in range(members)} if members else {body["id"]}
        assert set(request.expected) == expected
        assert not names & expected
        names |= expected


@pytest.mark.parametrize("rate", [15, 150])
def test_videos_repeat_after_the_same_time_at_every_rate(rate: float) -> None:
    """Otherwise tables would grow during the whole run, or all requests hit the caches."""
    requests = int(rate * REPEAT_SECONDS)
    count = sum(
        request.kind == "new file" for request in itertools.islice(mixed_load("a", rate), requests)
    )
    urls = {
        json.loads(request.value)["url"]
        for request in itertools.islice(mixed_load("a", rate), 3 * requests)
        if request.kind == "new file"
    }
    assert len(urls) == pytest.approx(count, abs=1)


# Outcomes


def test_outcome_closes_its_request() -> None:
    outcomes = Outcomes()
    [batch] = itertools.islice((a for a in mixed_load("a", RATE) if a.kind == "batch of 3"), 1)
    outcomes.expect(batch)
    assert len(outcomes.open) == 3
    for name, status in batch.expected.items():
        outcomes.record({"request_id": name, "status": status})
    assert not outcomes.open
    assert not outcomes.unexpected
    assert "0 without an outcome" in outcomes.lines()[-1]


def test_kind_with_too_many_open_requests_is_skipped_and_others_are_not() -> None:
    outcomes = Outcomes()
    published = Counter[str]()
    requests = list(itertools.islice(mixed_load("a", RATE), int(3 * OPEN_SECONDS * RATE)))
    for request in requests:
        published[request.kind] += outcomes.expect(request)
        if request.kind not in {"file comes late", "batch of 3"}:
            for name, status in request.expected.items():
                outcomes.record({"request_id": name, "status": status})
    for kind in KINDS:
        open_max = kind.count(RATE, OPEN_SECONDS)
        is_parked = kind.name in {"file comes late", "batch of 3"}
        assert (published[kind.name] == open_max) == is_parked
    assert set(outcomes.skipped) == {"file comes late", "batch of 3"}
    assert any("not published: " in line for line in outcomes.lines())


def test_skipped_kind_resumes_with_an_outcome() -> None:
    outcomes = Outcomes()
    [first, second] = (replace(each, open_max=1) for each in two_of_a_kind("gone"))
    assert outcomes.expect(first)
    assert not outcomes.expect(second)
    [(name, status)] = first.expected.items()
    outcomes.record({"request_id": name, "status": status})
    assert outcomes.expect(second)
    assert outcomes.requests == {"gone": 2}


def test_throughput_has_rates_and_open_requests() -> None:
    line = str(Throughput(rate=150, seconds=60, published=8_400, expected=9_200, received=9_110))
    assert line == (
        "140.0 of 150.0 requests/s published; 151.8 of 153.3 outcomes/s received, "
        "90 open at the end of the load"
    )


def test_unexpected_outcome_is_reported_with_its_error() -> None:
    outcomes = Outcomes()
    request = next(mixed_load("a", RATE))
    outcomes.expect(request)
    [name] = request.expected
    error = {"error_type": "internal.bug"}
    outcomes.record({"request_id": name, "status": "failed", "error": error})
    assert any("not as expected" in line and "internal.bug" in line for line in outcomes.lines())


def test_duplicate_and_unknown_outcomes_do_not_change_the_counts() -> None:
    outcomes = Outcomes()
    request = next(mixed_load("a", RATE))
    outcomes.expect(request)
    [(name, status)] = request.expected.items()
    for request_id in (name, name, "somebody else's"):
        outcomes.record({"request_id": request_id, "status": status})
    assert outcomes.duplicates == 2
    assert sum(outcomes.counts.values()) == 1


def test_request_without_an_outcome_is_reported() -> None:
    outcomes = Outcomes()
    outcomes.expect(next(mixed_load("a", RATE)))
    assert "1 without an outcome" in outcomes.lines()[-1]


# Sampler


def test_sampler_names_the_processes() -> None:
    here = psutil.Process()
    sampler = ProcessSampler(here.pid, {"parent": here.ppid()})
    sampler.sample()
    sampler.sample()
    named = {each.name: each.samples for each in sampler.series}
    assert len(named["worker"]) == len(named["parent"]) == 2
    assert named["worker"][0].rss >= named["worker"][0].uss > 1
    assert named["worker"][0].files >= 3


def test_ended_process_is_skipped_and_reported() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "30")
    sampler = ProcessSampler(os.getpid(), {"other": pid})
    assert sampler.ended() == []
    child = psutil.Process(pid)
    child.kill()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    sampler.sample()
    assert sampler.ended() == ["other"], "although it is not reaped yet"
    os.waitpid(pid, 0)
    sampler.sample()
    assert sampler.ended() == ["other"]
    assert "other" not in {each.name for each in sampler.series}
