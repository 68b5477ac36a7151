import msgspec
import pytest

from agents.recovery.retry_policy import HOUR, MINUTE, POLICIES, RetryPolicy, with_waits
from agents.recovery.strategies import propose
from schemas.errors import ErrorCode
from streams.topics import DELAYS, delay_topic
from tests.unit.agents.recovery.cases import ACCOUNTS, FORMATS, download_failure, recovery_options

NETWORK = (5, 30, 2 * MINUTE, 10 * MINUTE)

EXPECTED: dict[str, RetryPolicy] = {
    "network.timeout": RetryPolicy(waits=NETWORK, on_repeat=("lower_quality",), changes=4),
    "network.dns": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "network.connection": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "network.server": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "rate_limit.api": RetryPolicy(
        immediate=("other_egress",), changes=5, waits=(5, 30, 2 * MINUTE, 10 * MINUTE, HOUR)
    ),
    "rate_limit.ip_block": RetryPolicy(
        immediate=("other_egress",), changes=5, waits=(10 * MINUTE, HOUR)
    ),
    "rate_limit.account": RetryPolicy(
        immediate=("other_account",), changes=3, waits=(10 * MINUTE,)
    ),
    "content.not_found": RetryPolicy(),
    "content.private": RetryPolicy(immediate=("authenticate",)),
    "content.unsupported": RetryPolicy(immediate=("other_format",), changes=40),
    "content.live_ended": RetryPolicy(),
    "content.geo_blocked": RetryPolicy(immediate=("other_egress", "other_format"), changes=40),
    "content.login_required": RetryPolicy(immediate=("authenticate", "other_account"), changes=3),
    "content.age_restricted": RetryPolicy(immediate=("authenticate", "other_account"), changes=3),
    "content.no_formats": RetryPolicy(immediate=("other_format",), changes=2),
    "content.link_expired": RetryPolicy(immediate=("fresh_extraction", "other_format"), changes=40),
    "content.damaged": RetryPolicy(immediate=("fresh_extraction", "other_format"), changes=40),
    "content.no_sound": RetryPolicy(immediate=("other_format",), changes=40),
    "content.withheld": RetryPolicy(),
    "platform.changed": RetryPolicy(
        immediate=("other_format",), changes=40, waits=(10 * MINUTE, HOUR)
    ),
    "system.disk_full": RetryPolicy(waits=(30, 2 * MINUTE, 10 * MINUTE), outage=True),
    "system.storage": RetryPolicy(waits=(30, 2 * MINUTE, 10 * MINUTE), outage=True),
    "system.config": RetryPolicy(immediate=("other_egress",), changes=5, dead_letter=True),
    "system.engine_crash": RetryPolicy(waits=(5, 30), dead_letter=True),
    "internal.bug": RetryPolicy(waits=(30,), dead_letter=True),
    "request.invalid": RetryPolicy(),
    "request.too_large": RetryPolicy(immediate=("other_format",), changes=40),
    "request.expired": RetryPolicy(),
    "request.cancelled": RetryPolicy(),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_the_documented_policy(code: ErrorCode) -> None:
    assert POLICIES[code] == EXPECTED[code]


def test_policies_cover_exactly_the_error_codes() -> None:
    assert set(POLICIES) == set(ErrorCode) == set(EXPECTED)


def test_default_policy() -> None:
    assert RetryPolicy() == RetryPolicy(
        immediate=(), changes=1, waits=(), on_repeat=(), outage=False, dead_letter=False
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_every_wait_has_a_delay_topic(code: ErrorCode) -> None:
    seconds = {delay.total_seconds() for delay in DELAYS.values()}
    assert set(POLICIES[code].waits) <= seconds


@pytest.mark.parametrize("code", ErrorCode)
def test_outages_do_not_spin(code: ErrorCode) -> None:
    policy = POLICIES[code]
    assert not policy.outage or policy.waits[-1] >= MINUTE


def test_every_strategy_of_the_policies_can_propose_an_action() -> None:
    named = {each for row in POLICIES.values() for each in (*row.immediate, *row.on_repeat)}
    failure = download_failure()
    with_account = msgspec.structs.replace(failure, account="main")
    all_options = recovery_options("a", "b", accounts=ACCOUNTS, formats=FORMATS)
    assert all(
        propose(e, failure, all_options) or propose(e, with_account, all_options) for e in named
    )


def test_delay_topics_are_in_ascending_order() -> None:
    delays = list(DELAYS.values())
    assert delays == sorted(delays)
    assert delay_topic(max(delays) * 2) is list(DELAYS)[-1]


def test_waits_are_configurable() -> None:
    changed = with_waits({ErrorCode.NETWORK_DNS: (1, 2), ErrorCode.SYSTEM_STORAGE: (3, 5)})
    assert changed[ErrorCode.NETWORK_DNS] == RetryPolicy(waits=(1, 2), on_repeat=("other_format",))
    assert changed[ErrorCode.SYSTEM_STORAGE] == RetryPolicy(waits=(3, 5), outage=True)
    assert {code: row for code, row in changed.items() if row != POLICIES[code]}.keys() == {
        ErrorCode.NETWORK_DNS,
        ErrorCode.SYSTEM_STORAGE,
    }


def test_outage_without_waits_is_final() -> None:
    changed = with_waits({ErrorCode.SYSTEM_STORAGE: (), ErrorCode.INTERNAL_BUG: ()})
    assert changed[ErrorCode.SYSTEM_STORAGE] == RetryPolicy()
    assert changed[ErrorCode.INTERNAL_BUG] == RetryPolicy(dead_letter=True)


def test_no_configured_waits_leave_the_policies_unchanged() -> None:
    assert with_waits({}) == POLICIES
