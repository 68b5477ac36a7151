from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.health import (
    OLD_SECONDS,
    REFUSALS_MAX,
    REFUSED,
    REFUSED_SECONDS,
    REST_SECONDS,
    REST_SECONDS_MAX,
    AccountHealth,
    Candidate,
    State,
    after_use,
    choose,
    may_be_used,
    not_ahead,
    rested_at,
    state_of,
)
from agents.accounts.interface import Use
from agents.recovery.retry_policy import POLICIES
from schemas.errors import ErrorCode

NOW = 2_000_000_000.0
LIMITED = ErrorCode.RATE_LIMIT_ACCOUNT
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED


def use(
    code: ErrorCode | None = None,
    subject: str = "tiktok:1",
    *,
    needed: bool = True,
    retry_after: float | None = None,
) -> Use:
    return Use(subject=subject, needed=needed, code=code, retry_after=retry_after)


def after(*uses: Use, at: float = NOW) -> AccountHealth:
    health = AccountHealth()
    for each in uses:
        health = after_use(health, each, at)
    return health


def account(name: str = "a", expires_at: float | None = None, **health: Any) -> Candidate:
    return Candidate(
        name=name, health=AccountHealth(**health), written_at=NOW, expires_at=expires_at
    )


REFUSALS = tuple(use(LOGIN, f"tiktok:{number}") for number in range(REFUSALS_MAX))

STATES: dict[str, tuple[AccountHealth, float, State]] = {
    "new": (AccountHealth(), NOW, "trusted"),
    "of use": (after(use()), NOW, "trusted"),
    "limited": (after(use(LIMITED)), NOW + REST_SECONDS - 1, "resting"),
    "rested": (after(use(LIMITED)), NOW + REST_SECONDS, "trusted"),
    "refused once": (after(REFUSALS[0]), NOW, "doubtful"),
    "refused for one post": (after(*[REFUSALS[0]] * 9), NOW, "doubtful"),
    "refused for several": (after(*REFUSALS), NOW + REFUSED_SECONDS - 1, "refused"),
    "refused long ago": (after(*REFUSALS), NOW + REFUSED_SECONDS, "doubtful"),
    "of use between": (after(*REFUSALS[:-1], use(), REFUSALS[-1]), NOW, "doubtful"),
    "public between": (after(*REFUSALS[:-1], use(needed=False), REFUSALS[-1]), NOW, "refused"),
    "gone posts": (after(*[use(ErrorCode.CONTENT_NOT_FOUND)] * 9), NOW, "trusted"),
    "a network that is away": (after(*[use(ErrorCode.NETWORK_DNS)] * 9), NOW, "trusted"),
}


@pytest.mark.parametrize(("health", "now", "state"), STATES.values(), ids=STATES)
def test_a_state_follows_from_what_happened(
    health: AccountHealth, now: float, state: State
) -> None:
    candidate = Candidate(name="a", health=health, written_at=NOW)
    assert state_of(candidate, now) == state
    assert may_be_used(candidate, now) is (state in {"trusted", "doubtful"})


@pytest.mark.parametrize(
    ("expires_at", "state"), [(NOW, "expired"), (NOW + 1, "trusted"), (None, "trusted")]
)
def test_a_login_ends_by_itself(expires_at: float | None, state: State) -> None:
    assert state_of(account(expires_at=expires_at), NOW) == state


@pytest.mark.parametrize(
    ("age", "success_at", "state"),
    [(OLD_SECONDS, None, "trusted"), (OLD_SECONDS + 1, None, "doubtful"), (9e8, NOW, "trusted")],
)
def test_an_old_file_has_to_show_that_it_is_of_use(
    age: float, success_at: float | None, state: State
) -> None:
    health = AccountHealth(success_at=success_at)
    candidate = Candidate(name="a", health=health, written_at=NOW - age)
    assert state_of(candidate, NOW) == state


def test_what_ended_is_tried_by_one_request_at_a_time() -> None:
    tried_at = NOW + REFUSED_SECONDS
    health = msgspec.structs.replace(after(*REFUSALS), used_at=tried_at)
    assert state_of(Candidate(name="a", health=health, written_at=NOW), tried_at) == "refused"
    again = after_use(health, REFUSALS[0], tried_at + 1)
    assert state_of(Candidate(name="a", health=again, written_at=NOW), tried_at + 2) == "refused"
    well = after_use(health, use(), tried_at + 1)
    assert state_of(Candidate(name="a", health=well, written_at=NOW), tried_at + 2) == "trusted"


def test_every_refusal_is_remembered_by_its_code() -> None:
    assert {LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED} == REFUSED
    health = after(use(ErrorCode.CONTENT_AGE_RESTRICTED))
    assert (health.code, health.failure_at) == (ErrorCode.CONTENT_AGE_RESTRICTED, NOW)
    assert health.refused_for == ("tiktok:1",)


# Rests


def rests(count: int) -> list[float]:
    """Lengths of the rests of an account that is limited whenever it comes back."""
    health, now, lengths = AccountHealth(), NOW, []
    for _ in range(count):
        health = after_use(health, use(LIMITED), now)
        lengths.append(health.resting_until - now)
        now = health.resting_until
    return lengths


def test_rests_double_up_to_a_cap() -> None:
    assert rests(4) == [REST_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert rests(40)[-1] == REST_SECONDS_MAX


def test_a_rest_is_as_long_as_the_wait_of_the_request() -> None:
    assert POLICIES[LIMITED].waits == (REST_SECONDS,)


def test_pages_under_way_make_a_rest_no_longer() -> None:
    assert after(*[use(LIMITED)] * 30) == after(use(LIMITED))


@pytest.mark.parametrize("needed", [True, False])
def test_an_account_of_use_begins_anew(needed: bool) -> None:
    health = after_use(after(use(LIMITED)), use(needed=needed), NOW + REST_SECONDS)
    again = after_use(health, use(LIMITED), NOW + REST_SECONDS)
    assert again.resting_until == NOW + 2 * REST_SECONDS


@pytest.mark.parametrize(("asked", "rest"), [(5.0, REST_SECONDS), (9_000.0, 9_000.0)])
def test_a_rest_is_not_shorter_than_the_platform_asks(asked: float, rest: float) -> None:
    assert after(use(LIMITED, retry_after=asked)).resting_until == NOW + rest
    health = after(use(LIMITED), use(LIMITED, retry_after=asked))
    assert health.resting_until == NOW + rest


# Choosing

CHOICES: dict[str, tuple[list[Candidate], str | None]] = {
    "none": ([], None),
    "one": ([account("a")], "a"),
    "by name": ([account("b"), account("a")], "a"),
    "least recently used": ([account("a", used_at=5.0), account("b", used_at=4.0)], "b"),
    "trusted first": ([account("a", refused_for=("x",)), account("b", used_at=9.0)], "b"),
    "doubtful rather than none": ([account("a", refused_for=("x",))], "a"),
    "not resting": ([account("a", resting_until=NOW + 1), account("b", used_at=9.0)], "b"),
    "not ended": ([account("a", expires_at=NOW), account("b", used_at=9.0)], "b"),
    "none may": ([account("a", expires_at=NOW), account("b", resting_until=NOW + 1)], None),
}


@pytest.mark.parametrize(("candidates", "chosen"), CHOICES.values(), ids=CHOICES)
def test_the_best_is_chosen(candidates: list[Candidate], chosen: str | None) -> None:
    found = choose(candidates, NOW)
    assert (found.name if found else None) == chosen


def test_pages_are_spread_over_all() -> None:
    used = dict.fromkeys("abc", 0.0)
    order = []
    for step in range(9):
        best = choose([account(name, used_at=at) for name, at in used.items()], NOW)
        assert best is not None
        used[best.name] = NOW + step
        order.append(best.name)
    assert order == [*"abc"] * 3


def test_the_first_to_be_rested_is_told() -> None:
    resting = [account("a", resting_until=NOW + 9), account("b", resting_until=NOW + 5)]
    assert rested_at([*resting, account("c")], NOW) == NOW + 5
    assert rested_at([account("c")], NOW) is None
    ended = account("d", resting_until=NOW + 1, expires_at=NOW)
    assert rested_at([*resting, ended], NOW) == NOW + 5


uses = st.builds(
    use,
    st.sampled_from([None, *ErrorCode]),
    st.sampled_from(["tiktok:1", "tiktok:2", "tiktok:3", "tiktok:4"]),
    needed=st.booleans(),
    retry_after=st.none() | st.floats(0, 1e6),
)


@given(st.lists(st.tuples(uses, st.floats(0, 1e5)), max_size=60))
def test_whatever_happens_an_account_comes_back(history: list[tuple[Use, float]]) -> None:
    health, now, longest = AccountHealth(), NOW, 0.0
    for each, seconds in history:
        now += seconds
        health = after_use(health, each, now)
        longest = max(longest, now + (each.retry_after or 0.0))
        assert len(health.refused_for) <= REFUSALS_MAX
    back_at = max(longest, now + max(REST_SECONDS_MAX, REFUSED_SECONDS))
    assert may_be_used(Candidate(name="a", health=health, written_at=now), back_at)


# A clock that is set back


def test_a_rest_from_ahead_is_no_longer_than_it_was() -> None:
    limited = after(use(LIMITED), at=NOW + 3_000)
    back = not_ahead(limited, NOW)
    assert back.resting_until == NOW + REST_SECONDS
    assert back.failure_at == NOW
    assert not_ahead(back, NOW + 1) == back


def test_a_rest_that_was_asked_for_is_kept() -> None:
    limited = after(use(LIMITED, retry_after=5_000))
    assert not_ahead(limited, NOW) == limited
