import pytest

from agents.resilience.policy import HOUR, MINUTE, POLICIES, Policy
from schemas.errors import ErrorCode
from streams.topics import DELAYS, delay_topic

NETWORK = (5, 30, 2 * MINUTE, 10 * MINUTE)

EXPECTED: dict[str, Policy] = {
    "network.timeout": Policy(waits=NETWORK),
    "network.dns": Policy(waits=NETWORK),
    "network.connection": Policy(waits=NETWORK),
    "network.server": Policy(waits=NETWORK),
    "rate_limit.api": Policy(waits=(2 * MINUTE, 10 * MINUTE, HOUR)),
    "rate_limit.ip_block": Policy(waits=(10 * MINUTE, HOUR)),
    "rate_limit.account": Policy(waits=(10 * MINUTE,)),
    "content.not_found": Policy(),
    "content.private": Policy(),
    "content.unsupported": Policy(),
    "content.live_ended": Policy(),
    "content.geo_blocked": Policy(),
    "content.login_required": Policy(),
    "content.age_restricted": Policy(),
    "content.no_formats": Policy(),
    "content.link_expired": Policy(waits=(0, 0, 5), fresh=True),
    "platform.changed": Policy(waits=(10 * MINUTE, HOUR), repeat_last=True),
    "system.disk_full": Policy(waits=(10 * MINUTE,), repeat_last=True),
    "system.storage": Policy(waits=(10 * MINUTE,), repeat_last=True),
    "system.config": Policy(keep=True),
    "system.engine_crash": Policy(waits=(5, 30), keep=True),
    "internal.bug": Policy(waits=(30,), keep=True),
    "request.invalid": Policy(),
    "request.too_large": Policy(),
    "request.expired": Policy(),
    "request.cancelled": Policy(),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_the_documented_row(code: ErrorCode) -> None:
    assert POLICIES[code] == EXPECTED[code]


def test_no_row_is_left_over() -> None:
    assert set(POLICIES) == set(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_wait_has_its_delay_topic(code: ErrorCode) -> None:
    seconds = {delay.total_seconds() for delay in DELAYS.values()}
    assert set(POLICIES[code].waits) <= seconds | {0}


@pytest.mark.parametrize("code", ErrorCode)
def test_outages_do_not_spin(code: ErrorCode) -> None:
    policy = POLICIES[code]
    assert not policy.repeat_last or policy.waits[-1] >= MINUTE


def test_the_delay_topics_are_in_order() -> None:
    delays = list(DELAYS.values())
    assert delays == sorted(delays)
    assert delay_topic(max(delays) * 2) is list(DELAYS)[-1]
