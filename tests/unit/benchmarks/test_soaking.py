"""The books and the judgement of the soak; its run is in the acceptance tests."""

import itertools
import json
import os
import random
from collections import Counter

import psutil
import pytest

from benchmarks.soaking.load import KINDS, RING, mixed_load
from benchmarks.soaking.outcomes import Outcomes
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
from benchmarks.soaking.watching import Watch

ROUND = sum(kind.weight for kind in KINDS)


def series(per_hour: float, noise: float = 0.1, seconds: float = 1_200) -> Series:
    """A process that is sampled every five seconds and grows by so many MiB an hour."""
    chance, found = random.Random(7), Series("worker")
    for n in range(int(seconds / 5)):
        uss = 80 + per_hour * n * 5 / 3_600 + chance.gauss(0, noise)
        found.add(Sample(n * 5.0, uss + 20, uss, 70 + n % 2, 18))
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
def test_the_judgement(per_hour: float, noise: float, verdict: Verdict) -> None:
    figures = figures_of(series(per_hour, noise), 300)
    assert figures is not None
    assert figures.verdict == verdict
    assert grows([figures]) == (["worker"] if verdict == "grows" else [])


def test_what_is_not_ours_is_not_judged() -> None:
    figures = figures_of(Series("kafka", series(60).samples), 300)
    assert figures is not None
    assert figures.verdict == "grows"
    assert grows([figures]) == []


def test_what_happens_while_it_warms_up_does_not_count() -> None:
    early = series(0)
    early.samples[:60] = [Sample(n * 5.0, 0, n, 0, 0) for n in range(60)]
    figures = figures_of(early, 300)
    assert figures is not None
    assert figures.verdict == "flat"
    assert figures.first.at == 300


def test_a_process_that_did_not_live_so_long_is_left_out() -> None:
    assert figures_of(series(0, seconds=100), 300) is None


def test_a_short_time_judges_nothing() -> None:
    figures = figures_of(series(5_000, seconds=JUDGED_SECONDS_MIN), 0)
    assert figures is not None
    assert figures.verdict == "unclear"


def test_few_samples_judge_nothing() -> None:
    figures = figures_of(series(500, seconds=20), 0)
    assert figures is not None
    assert (figures.verdict, "too few samples" in str(figures)) == ("unclear", True)


def test_a_line_has_all_figures() -> None:
    line = str(figures_of(series(60), 300))
    for part in ("worker", "RSS", "USS", "MiB/h", "grows", "files 70 -> 71", "threads 18 -> 18"):
        assert part in line


def test_samples_stay_few_and_cover_all() -> None:
    long = series(60, seconds=5 * 5_000)
    assert SAMPLES_MAX / 3 < len(long.samples) <= SAMPLES_MAX
    assert long.samples[0].at == 0
    assert long.samples[-1].at > 5 * 4_900
    gaps = {later.at - earlier.at for earlier, later in itertools.pairwise(long.samples)}
    assert len(gaps) == 1


# The load


def test_a_round_has_every_kind_by_its_weight() -> None:
    asked = itertools.islice(mixed_load("a"), 3 * ROUND)
    counts = Counter(each.kind for each in asked)
    assert counts == {kind.name: 3 * kind.weight for kind in KINDS}


def test_ids_are_the_record_s_and_never_the_same() -> None:
    names = set[str]()
    for asked in itertools.islice(mixed_load("a"), 500):
        body = json.loads(asked.value)
        members = len(body.get("urls", ()))
        expected = {f"{body['id']}/{n}" for n in range(members)} if members else {body["id"]}
        assert set(asked.expects) == expected
        assert not names & expected
        names |= expected


def test_videos_come_round_again() -> None:
    """Else tables would grow for as long as it runs."""
    urls = set[str]()
    for asked in itertools.islice(mixed_load("a"), ROUND * RING * 2):
        if asked.kind == "new file":
            urls.add(json.loads(asked.value)["url"])
    assert len(urls) == RING


# The books


def test_each_outcome_closes_its_request() -> None:
    outcomes = Outcomes()
    [batch] = itertools.islice((a for a in mixed_load("a") if a.kind == "batch of 3"), 1)
    outcomes.expect(batch)
    assert len(outcomes.open) == 3
    for name, status in batch.expects.items():
        outcomes.take({"request_id": name, "status": status})
    assert not outcomes.open
    assert not outcomes.unexpected
    assert "0 without an outcome" in outcomes.lines()[-1]


def test_what_is_not_as_expected_is_told_with_its_error() -> None:
    outcomes = Outcomes()
    asked = next(mixed_load("a"))
    outcomes.expect(asked)
    [name] = asked.expects
    error = {"error_type": "internal.bug"}
    outcomes.take({"request_id": name, "status": "failed", "error": error})
    assert any("not as expected" in line and "internal.bug" in line for line in outcomes.lines())


def test_copies_and_strangers_are_counted_and_change_nothing() -> None:
    outcomes = Outcomes()
    asked = next(mixed_load("a"))
    outcomes.expect(asked)
    [(name, status)] = asked.expects.items()
    for request_id in (name, name, "somebody else's"):
        outcomes.take({"request_id": request_id, "status": status})
    assert outcomes.copies == 2
    assert sum(outcomes.counts.values()) == 1


def test_a_request_without_an_outcome_is_told() -> None:
    outcomes = Outcomes()
    outcomes.expect(next(mixed_load("a")))
    assert "1 without an outcome" in outcomes.lines()[-1]


# The watch


def test_it_names_what_it_sees() -> None:
    here = psutil.Process()
    watch = Watch(here.pid, {"parent": here.ppid()})
    watch.look()
    watch.look()
    named = {each.name: each.samples for each in watch.series}
    assert len(named["worker"]) == len(named["parent"]) == 2
    assert named["worker"][0].rss >= named["worker"][0].uss > 1
    assert named["worker"][0].files >= 3


def test_what_has_ended_is_passed_over() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "30")
    watch = Watch(os.getpid(), {"other": pid})
    assert watch.ended() == []
    child = psutil.Process(pid)
    child.kill()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    watch.look()
    assert watch.ended() == ["other"], "though nobody has waited for it"
    os.waitpid(pid, 0)
    watch.look()
    assert watch.ended() == ["other"]
    assert "other" not in {each.name for each in watch.series}
