from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.health import (
    COOLDOWN_SECONDS,
    COOLDOWN_SECONDS_MAX,
    OLD_FILE_SECONDS,
    REFUSALS_MAX,
    REFUSED,
    REFUSED_RETRY_SECONDS,
    AccountHealth,
    AccountStanding,
    Candidate,
    after_use,
    choose,
    is_usable,
    next_available_at,
    state_of,
    without_future_times,
)
from agents.accounts.interface import AccountUse
from agents.recovery.retry_policy import POLICIES
from schemas.errors import ErrorCode

NOW = 2_000_000_000.0
LIMITED = ErrorCode.RATE_LIMIT_ACCOUNT
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED


def use(
    code: ErrorCode | None = None,
    subject: str = "tiktok:1",
    *,
    login_required: bool = True,
    retry_after: float | None = None,
) -> AccountUse:
    return AccountUse(
        subject=subject, login_required=login_required, code=code, retry_after=retry_after
    )


def after(*uses: AccountUse, at: float = NOW) -> AccountHealth:
    health = AccountHealth()
    for each in uses:
        health = after_use(health, each, at)
    return health


def account(name: str = "a", expires_at: float | None = None, **health: Any) -> Candidate:
    return Candidate(
        name=name, health=AccountHealth(**health), written_at=NOW, expires_at=expires_at
    )


REFUSALS = tuple(use(LOGIN, f"tiktok:{number}") for number in range(REFUSALS_MAX))

STATES: dict[str, tuple[AccountHealth, float, AccountStanding]] = {
    "new": (AccountHealth(), NOW, "trusted"),
    "successful": (after(use()), NOW, "trusted"),
    "limited": (after(use(LIMITED)), NOW + COOLDOWN_SECONDS - 1, "resting"),
    "cooled down": (after(use(LIMITED)), NOW + COOLDOWN_SECONDS, "trusted"),
    "refused once": (after(REFUSALS[0]), NOW, "doubtful"),
    "refused for one post": (after(*[REFUSALS[0]] * 9), NOW, "doubtful"),
    "refused for several": (after(*REFUSALS), NOW + REFUSED_RETRY_SECONDS - 1, "refused"),
    "refused long ago": (after(*REFUSALS), NOW + REFUSED_RETRY_SECONDS, "doubtful"),
    "success in between": (after(*REFUSALS[:-1], use(), REFUSALS[-1]), NOW, "doubtful"),
    "success without login in between": (
        after(*REFUSALS[:-1], use(login_required=False), REFUSALS[-1]),
        NOW,
        "refused",
    ),
    "deleted posts": (after(*[use(ErrorCode.CONTENT_NOT_FOUND)] * 9), NOW, "trusted"),
    "network failures": (after(*[use(ErrorCode.NETWORK_DNS)] * 9), NOW, "trusted"),
}


@pytest.mark.parametrize(("health", "now", "state"), STATES.values(), ids=STATES)
def test_state_follows_from_the_history(
    health: AccountHealth, now: float, state: AccountStanding
) -> None:
    candidate = Candidate(name="a", health=health, written_at=NOW)
    assert state_of(candidate, now) == state
    assert is_usable(candidate, now) is (state in {"trusted", "doubtful"})


@pytest.mark.parametrize(
    ("expires_at", "state"), [(NOW, "expired"), (NOW + 1, "trusted"), (None, "trusted")]
)
def test_login_expires(expires_at: float | None, state: AccountStanding) -> None:
    assert state_of(account(expires_at=expires_at), NOW) == state


@pytest.mark.parametrize(
    ("age", "success_at", "state"),
    [
        (OLD_FILE_SECONDS, None, "trusted"),
        (OLD_FILE_SECONDS + 1, None, "doubtful"),
        (9e8, NOW, "trusted"),
    ],
)
def test_old_file_is_doubtful_without_a_success(
    age: float, success_at: float | None, state: AccountStanding
) -> None:
    health = AccountHealth(success_at=success_at)
    candidate = Candidate(name="a", health=health, written_at=NOW - age)
    assert state_of(candidate, NOW) == state


def test_refused_account_is_retried_by_one_request_at_a_time() -> None:
    tried_at = NOW + REFUSED_RETRY_SECONDS
    health = msgspec.structs.replace(after(*REFUSALS), used_at=tried_at)
    assert state_of(Candidate(name="a", health=health, written_at=NOW), tried_at) == "refused"
    again = after_use(health, REFUSALS[0], tried_at + 1)
    assert state_of(Candidate(name="a", health=again, written_at=NOW), tried_at + 2) == "refused"
    successful = after_use(health, use(), tried_at + 1)
    assert (
        state_of(Candidate(name="a", health=successful, written_at=NOW), tried_at + 2) == "trusted"
    )


def test_refusal_is_recorded_with_its_code() -> None:
    assert {LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED} == REFUSED
    health = after(use(ErrorCode.CONTENT_AGE_RESTRICTED))
    assert (health.code, health.failure_at) == (ErrorCode.CONTENT_AGE_RESTRICTED, NOW)
    assert health.refused_for == ("tiktok:1",)


# Cooldowns


def cooldowns(count: int) -> list[float]:
    """Return the cooldown lengths of an account that is rate limited after every cooldown."""
    health, now, lengths = AccountHealth(), NOW, []
    for _ in range(count):
        health = after_use(health, use(LIMITED), now)
        lengths.append(health.cooldown_until - now)
        now = health.cooldown_until
    return lengths


def test_cooldowns_double_up_to_a_maximum() -> None:
    assert cooldowns(4) == [COOLDOWN_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert cooldowns(40)[-1] == COOLDOWN_SECONDS_MAX


def test_cooldown_equals_the_retry_wait_of_the_request() -> None:
    assert POLICIES[LIMITED].waits == (COOLDOWN_SECONDS,)


def test_concurrent_rate_limits_do_not_extend_the_cooldown() -> None:
    assert after(*[use(LIMITED)] * 30) == after(use(LIMITED))


@pytest.mark.parametrize("login_required", [True, False])
def test_success_resets_the_cooldown_length(login_required: bool) -> None:
    health = after_use(
        after(use(LIMITED)), use(login_required=login_required), NOW + COOLDOWN_SECONDS
    )
    again = after_use(health, use(LIMITED), NOW + COOLDOWN_SECONDS)
    assert again.cooldown_until == NOW + 2 * COOLDOWN_SECONDS


@pytest.mark.parametrize(("requested", "cooldown"), [(5.0, COOLDOWN_SECONDS), (9_000.0, 9_000.0)])
def test_cooldown_is_at_least_the_retry_after(requested: float, cooldown: float) -> None:
    assert after(use(LIMITED, retry_after=requested)).cooldown_until == NOW + cooldown
    health = after(use(LIMITED), use(LIMITED, retry_after=requested))
    assert health.cooldown_until == NOW + cooldown


# Selection

CHOICES: dict[str, tuple[list[Candidate], str | None]] = {
    "none": ([], None),
    "one": ([account("a")], "a"),
    "by name": ([account("b"), account("a")], "a"),
    "least recently used": ([account("a", used_at=5.0), account("b", used_at=4.0)], "b"),
    "trusted first": ([account("a", refused_for=("x",)), account("b", used_at=9.0)], "b"),
    "doubtful rather than none": ([account("a", refused_for=("x",))], "a"),
    "not resting": ([account("a", cooldown_until=NOW + 1), account("b", used_at=9.0)], "b"),
    "not expired": ([account("a", expires_at=NOW), account("b", used_at=9.0)], "b"),
    "none usable": ([account("a", expires_at=NOW), account("b", cooldown_until=NOW + 1)], None),
}


@pytest.mark.parametrize(("candidates", "chosen"), CHOICES.values(), ids=CHOICES)
def test_best_candidate_is_chosen(candidates: list[Candidate], chosen: str | None) -> None:
    found = choose(candidates, NOW)
    assert (found.name if found else None) == chosen


def test_requests_are_spread_over_all_accounts() -> None:
    used = dict.fromkeys("abc", 0.0)
    order = []
    for step in range(9):
        best = choose([account(name, used_at=at) for name, at in used.items()], NOW)
        assert best is not None
        used[best.name] = NOW + step
        order.append(best.name)
    assert order == [*"abc"] * 3


def test_earliest_end_of_a_cooldown_is_returned() -> None:
    resting = [account("a", cooldown_until=NOW + 9), account("b", cooldown_until=NOW + 5)]
    assert next_available_at([*resting, account("c")], NOW) == NOW + 5
    assert next_available_at([account("c")], NOW) is None
    ended = account("d", cooldown_until=NOW + 1, expires_at=NOW)
    assert next_available_at([*resting, ended], NOW) == NOW + 5


uses = st.builds(
    use,
    st.sampled_from([None, *ErrorCode]),
    st.sampled_from(["tiktok:1", "tiktok:2", "tiktok:3", "tiktok:4"]),
    login_required=st.booleans(),
    retry_after=st.none() | st.floats(0, 1e6),
)


@given(st.lists(st.tuples(uses, st.floats(0, 1e5)), max_size=60))
def test_account_is_usable_again_after_any_history(history: list[tuple[AccountUse, float]]) -> None:
    health, now, longest = AccountHealth(), NOW, 0.0
    for each, seconds in history:
        now += seconds
        health = after_use(health, each, now)
        longest = max(longest, now + (each.retry_after or 0.0))
        assert len(health.refused_for) <= REFUSALS_MAX
    usable_at = max(longest, now + max(COOLDOWN_SECONDS_MAX, REFUSED_RETRY_SECONDS))
    assert is_usable(Candidate(name="a", health=health, written_at=now), usable_at)


# Clock set back


def test_cooldown_from_the_future_keeps_its_length() -> None:
    limited = after(use(LIMITED), at=NOW + 3_000)
    back = without_future_times(limited, NOW)
    assert back.cooldown_until == NOW + COOLDOWN_SECONDS
    assert back.failure_at == NOW
    assert without_future_times(back, NOW + 1) == back


def test_requested_cooldown_is_kept() -> None:
    limited = after(use(LIMITED, retry_after=5_000))
    assert without_future_times(limited, NOW) == limited
