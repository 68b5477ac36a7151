import msgspec
import pytest

from agents.recovery.retry_policy import HOUR, MINUTE, POLICIES, Policy, with_waits
from agents.recovery.strategies import remedy
from schemas.errors import ErrorCode
from streams.topics import DELAYS, delay_topic
from tests.unit.agents.recovery.cases import ACCOUNTS, FORMATS, failed_download, means

NETWORK = (5, 30, 2 * MINUTE, 10 * MINUTE)

EXPECTED: dict[str, Policy] = {
    "network.timeout": Policy(waits=NETWORK, on_repeat=("lower_quality",), changes=4),
    "network.dns": Policy(waits=NETWORK, on_repeat=("other_format",)),
    "network.connection": Policy(waits=NETWORK, on_repeat=("other_format",)),
    "network.server": Policy(waits=NETWORK, on_repeat=("other_format",)),
    "rate_limit.api": Policy(
        at_once=("other_egress",), changes=5, waits=(5, 30, 2 * MINUTE, 10 * MINUTE, HOUR)
    ),
    "rate_limit.ip_block": Policy(at_once=("other_egress",), changes=5, waits=(10 * MINUTE, HOUR)),
    "rate_limit.account": Policy(at_once=("other_account",), changes=3, waits=(10 * MINUTE,)),
    "content.not_found": Policy(),
    "content.private": Policy(at_once=("authenticate",)),
    "content.unsupported": Policy(at_once=("other_format",), changes=40),
    "content.live_ended": Policy(),
    "content.geo_blocked": Policy(at_once=("other_egress", "other_format"), changes=40),
    "content.login_required": Policy(at_once=("authenticate", "other_account"), changes=3),
    "content.age_restricted": Policy(at_once=("authenticate", "other_account"), changes=3),
    "content.no_formats": Policy(at_once=("other_format",), changes=2),
    "content.link_expired": Policy(at_once=("fresh_extraction", "other_format"), changes=40),
    "content.damaged": Policy(at_once=("fresh_extraction", "other_format"), changes=40),
    "content.no_sound": Policy(at_once=("other_format",), changes=40),
    "platform.changed": Policy(at_once=("other_format",), changes=40, waits=(10 * MINUTE, HOUR)),
    "system.disk_full": Policy(waits=(10 * MINUTE,), outage=True),
    "system.storage": Policy(waits=(10 * MINUTE,), outage=True),
    "system.config": Policy(at_once=("other_egress",), changes=5, keep=True),
    "system.engine_crash": Policy(waits=(5, 30), keep=True),
    "internal.bug": Policy(waits=(30,), keep=True),
    "request.invalid": Policy(),
    "request.too_large": Policy(at_once=("other_format",), changes=40),
    "request.expired": Policy(),
    "request.cancelled": Policy(),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_the_documented_row(code: ErrorCode) -> None:
    assert POLICIES[code] == EXPECTED[code]


def test_no_row_is_left_over() -> None:
    assert set(POLICIES) == set(ErrorCode) == set(EXPECTED)


def test_by_default_a_code_changes_something_once() -> None:
    assert Policy() == Policy(
        at_once=(), changes=1, waits=(), on_repeat=(), outage=False, keep=False
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_every_wait_has_its_delay_topic(code: ErrorCode) -> None:
    seconds = {delay.total_seconds() for delay in DELAYS.values()}
    assert set(POLICIES[code].waits) <= seconds


@pytest.mark.parametrize("code", ErrorCode)
def test_outages_do_not_spin(code: ErrorCode) -> None:
    policy = POLICIES[code]
    assert not policy.outage or policy.waits[-1] >= MINUTE


def test_every_strategy_of_the_table_can_change_something() -> None:
    named = {each for row in POLICIES.values() for each in (*row.at_once, *row.on_repeat)}
    failure = failed_download()
    with_account = msgspec.structs.replace(failure, account="main")
    every = means("a", "b", accounts=ACCOUNTS, formats=FORMATS)
    assert all(remedy(e, failure, every) or remedy(e, with_account, every) for e in named)


def test_the_delay_topics_are_in_order() -> None:
    delays = list(DELAYS.values())
    assert delays == sorted(delays)
    assert delay_topic(max(delays) * 2) is list(DELAYS)[-1]


def test_waits_can_be_set() -> None:
    changed = with_waits({ErrorCode.NETWORK_DNS: (1, 2), ErrorCode.SYSTEM_STORAGE: (3, 5)})
    assert changed[ErrorCode.NETWORK_DNS] == Policy(waits=(1, 2), on_repeat=("other_format",))
    assert changed[ErrorCode.SYSTEM_STORAGE] == Policy(waits=(3, 5), outage=True)
    assert {code: row for code, row in changed.items() if row != POLICIES[code]}.keys() == {
        ErrorCode.NETWORK_DNS,
        ErrorCode.SYSTEM_STORAGE,
    }


def test_without_any_wait_an_outage_is_the_end() -> None:
    changed = with_waits({ErrorCode.SYSTEM_STORAGE: (), ErrorCode.INTERNAL_BUG: ()})
    assert changed[ErrorCode.SYSTEM_STORAGE] == Policy()
    assert changed[ErrorCode.INTERNAL_BUG] == Policy(keep=True)


def test_nothing_set_is_the_table() -> None:
    assert with_waits({}) == POLICIES
