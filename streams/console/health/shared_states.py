"""Breakers, rates, accounts and paused stages of the shared state; malformed ones are left out."""

from datetime import datetime, timedelta
from typing import TypeVar

from schemas.signals import (
    ACCOUNT,
    ACCOUNT_SECONDS,
    BREAKER,
    INTAKE,
    MEDIA_HOST,
    RATE,
    AccountState,
    BreakerState,
    IntakeSignal,
    RateState,
)
from streams.cluster.shared_state import SharedState
from streams.media_host_waits import WaitingHost, read_waiting_hosts

Signal = TypeVar("Signal")

STALE_ACCOUNT = timedelta(seconds=3 * ACCOUNT_SECONDS)


def breakers(state: SharedState) -> tuple[BreakerState, ...]:
    return tuple(found for _, found in _read(state, BREAKER, BreakerState))


def rates(state: SharedState) -> tuple[RateState, ...]:
    return tuple(found for _, found in _read(state, RATE, RateState))


def accounts(state: SharedState, now: datetime) -> tuple[AccountState, ...]:
    """Return the accounts that a worker has."""
    found = (each for _, each in _read(state, ACCOUNT, AccountState))
    return tuple(each for each in found if now - each.at < STALE_ACCOUNT)


def pauses(state: SharedState) -> dict[str, IntakeSignal]:
    """Return the paused stages."""
    found = _read(state, INTAKE, IntakeSignal)
    return {name: signal for name, signal in found if signal.paused}


def media_hosts(state: SharedState) -> tuple[WaitingHost, ...]:
    """Return the hosts that videos wait for and no platform lists."""
    return tuple(read_waiting_hosts(state.items(MEDIA_HOST)))


def _read(state: SharedState, prefix: str, kind: type[Signal]) -> list[tuple[str, Signal]]:
    keys = sorted(key for key, _ in state.items(prefix))
    found = ((key.removeprefix(prefix), state.read(key, kind)) for key in keys)
    return [(name, signal) for name, signal in found if signal is not None]
