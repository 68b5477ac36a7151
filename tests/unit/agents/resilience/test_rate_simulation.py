"""Rate adaptation against platforms that refuse in different ways, in simulated time.

Simulated because minutes of a platform at thousands of requests a second pass in a second.
"""

import pytest

from agents.resilience.adaptive_rate import RateRules, new_rate, rate_of
from tests.unit.agents.resilience.calls import NOW, attempt
from tests.unit.agents.resilience.simulated_platform import (
    fixed_limit,
    outage,
    random_refusals,
    simulate,
)

pytestmark = pytest.mark.untraced

RECOVERY_SECONDS = 120
RULES = RateRules(limit=100, floor=0.5, recovery_seconds=RECOVERY_SECONDS, pause_seconds_max=300)
INITIAL_RATE = new_rate(attempt(), NOW)
CONVERGED = NOW + 20
OBSERVED_SECONDS = 120


def rules(limit: float) -> RateRules:
    return RateRules(
        limit=limit, floor=0.5, recovery_seconds=RECOVERY_SECONDS, pause_seconds_max=300
    )


# A platform with a limit of its own


@pytest.mark.parametrize(
    ("limit", "true_limit"),
    [(10, 2), (10, 6), (100, 5), (100, 20), (100, 60), (10_000, 20), (10_000, 100)],
)
def test_rate_converges_to_the_limit_of_the_platform(limit: int, true_limit: int) -> None:
    run = simulate(
        fixed_limit(true_limit), INITIAL_RATE, rules(limit), begin=NOW, seconds=140, demand=200
    )
    admitted = run.admitted_per_second(CONVERGED, CONVERGED + OBSERVED_SECONDS) / true_limit
    refused = run.refused_share(CONVERGED, CONVERGED + OBSERVED_SECONDS)
    print(f"{limit} allowed, {true_limit} admitted: {admitted:.2f} of it, {refused:.3f} refused")
    assert 0.75 <= admitted <= 1.0
    assert admitted / (1 - refused) <= 1.1
    assert refused <= 0.1


@pytest.mark.parametrize("latency", [0.01, 1.0, 5.0])
def test_rate_converges_at_any_latency(latency: float) -> None:
    run = simulate(
        fixed_limit(20), INITIAL_RATE, RULES, begin=NOW, seconds=140, demand=200, latency=latency
    )
    assert run.admitted_per_second(CONVERGED, CONVERGED + OBSERVED_SECONDS) >= 0.6 * 20
    assert run.refused_share(CONVERGED, CONVERGED + OBSERVED_SECONDS) <= 0.15


def test_rate_recovers_fully_when_the_limit_is_lifted() -> None:
    before = simulate(fixed_limit(20), INITIAL_RATE, RULES, begin=NOW, seconds=60, demand=200)
    after = simulate(
        lambda _now: False,
        before.row,
        RULES,
        begin=NOW + 60,
        seconds=2 * RECOVERY_SECONDS,
        demand=200,
    )
    assert after.row.allowed is None


# A platform that refuses some at random


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("limit", "demand"), [(10_000, 300), (100, 100), (10, 10), (10, 2)])
@pytest.mark.parametrize("share", [0.01, 0.014])
def test_rare_random_refusals_cut_nothing(
    share: float, limit: int, demand: float, seed: int
) -> None:
    run = simulate(
        random_refusals(share, seed),
        INITIAL_RATE,
        rules(limit),
        begin=NOW,
        seconds=1_500 / demand,
        demand=demand,
    )
    assert run.refused(NOW, NOW + 1_500 / demand) > 0
    assert run.lowest() >= 0.8 * min(limit, demand)


@pytest.mark.parametrize("seed", range(5))
def test_random_refusals_of_five_percent_cost_little(seed: int) -> None:
    run = simulate(
        random_refusals(0.05, seed), INITIAL_RATE, rules(10_000), begin=NOW, seconds=15, demand=200
    )
    assert run.admitted_per_second(NOW, NOW + 15) >= 0.9 * 200


# A platform that refuses everything for two seconds


@pytest.mark.parametrize(
    ("limit", "demand", "recovery_seconds_max"),
    [(10_000, 100, 2), (100, 100, 0.6 * RECOVERY_SECONDS), (10, 10, 0.1 * RECOVERY_SECONDS)],
)
def test_demand_is_met_again_after_a_burst_of_refusals(
    limit: int, demand: float, recovery_seconds_max: float
) -> None:
    begin, end = NOW + 20, NOW + 22
    run = simulate(
        outage(begin, 2),
        INITIAL_RATE,
        rules(limit),
        begin=NOW,
        seconds=22 + 1.3 * RECOVERY_SECONDS,
        demand=demand,
    )
    met_at = next(at for at, rate in run.allowed if at > end + 1 and rate >= 0.8 * demand)
    print(
        f"limit {limit}, {demand}/s: {run.lowest():.0f}/s at least, back {met_at - end:.1f} s later"
    )
    assert met_at - end <= recovery_seconds_max
    assert rate_of(run.row, rules(limit)) >= demand
