from tests.standin.rate_limit import RateLimit
from tests.standin.switches import Switches


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limit(per_second: int | None = None, retry_after_seconds: int = 0) -> tuple[RateLimit, Clock]:
    clock = Clock()
    made = RateLimit(clock)
    made.set(per_second, retry_after_seconds)
    return made, clock


def refused(rate: RateLimit, count: int, egress: str = "") -> int:
    return sum(rate.refusal(egress) is not None for _ in range(count))


def test_without_a_limit_pages_are_counted_only() -> None:
    rate, clock = limit()
    assert refused(rate, 5) == 0
    clock.now = 0.9
    assert refused(rate, 3) == 0
    clock.now = 1.0
    assert refused(rate, 3) == 0
    assert rate.as_json() == {"most": {"": 8}, "refused": 0}


def test_above_the_limit_of_a_sliding_second_pages_are_refused() -> None:
    rate, clock = limit(3)
    assert refused(rate, 2) == 0
    clock.now = 0.5
    assert refused(rate, 3) == 2
    clock.now = 1.0
    assert refused(rate, 3) == 1
    assert rate.refused == 3
    assert rate.most[""] == 6


def test_every_way_out_has_its_own() -> None:
    rate, _ = limit(1)
    assert refused(rate, 1, "a") == refused(rate, 1, "b") == 0
    assert refused(rate, 1, "a") == 1


def test_a_refusal_may_tell_when_to_come_back() -> None:
    for seconds, headers in ((0, None), (7, "7")):
        rate, _ = limit(0, seconds)
        reply = rate.refusal("")
        assert reply is not None
        assert reply.status == 429
        assert dict(reply.headers).get("Retry-After") == headers


def test_another_limit_begins_anew_and_a_reset_takes_it_away() -> None:
    switches = Switches()
    switches.rate_limit.set(1)
    refused(switches.rate_limit, 3)
    switches.rate_limit.set(2)
    assert (switches.rate_limit.refused, dict(switches.rate_limit.most)) == (0, {})
    switches.reset()
    assert refused(switches.rate_limit, 9) == 0
