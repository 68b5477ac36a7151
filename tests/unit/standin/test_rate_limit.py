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


def count_refused(rate: RateLimit, count: int, egress: str = "") -> int:
    return sum(rate.refusal(egress) is not None for _ in range(count))


def test_pages_are_counted_without_a_limit() -> None:
    rate, clock = limit()
    assert count_refused(rate, 5) == 0
    clock.now = 0.9
    assert count_refused(rate, 3) == 0
    clock.now = 1.0
    assert count_refused(rate, 3) == 0
    assert rate.as_json() == {"most": {"": 8}, "refused": 0}


def test_pages_above_the_limit_of_a_sliding_second_are_refused() -> None:
    rate, clock = limit(3)
    assert count_refused(rate, 2) == 0
    clock.now = 0.5
    assert count_refused(rate, 3) == 2
    clock.now = 1.0
    assert count_refused(rate, 3) == 1
    assert rate.refused == 3
    assert rate.most[""] == 6


def test_every_egress_has_its_own_limit() -> None:
    rate, _ = limit(1)
    assert count_refused(rate, 1, "a") == count_refused(rate, 1, "b") == 0
    assert count_refused(rate, 1, "a") == 1


def test_refusal_may_have_a_retry_after() -> None:
    for seconds, headers in ((0, None), (7, "7")):
        rate, _ = limit(0, seconds)
        reply = rate.refusal("")
        assert reply is not None
        assert reply.status == 429
        assert dict(reply.headers).get("Retry-After") == headers


def test_new_limit_restarts_counting_and_reset_removes_it() -> None:
    switches = Switches()
    switches.rate_limit.set(1)
    count_refused(switches.rate_limit, 3)
    switches.rate_limit.set(2)
    assert (switches.rate_limit.refused, dict(switches.rate_limit.most)) == (0, {})
    switches.reset()
    assert count_refused(switches.rate_limit, 9) == 0
