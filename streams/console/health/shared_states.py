"""What the shared state has: breakers, rates, accounts, paused stages, caches and engines.

Malformed values are left out.
"""

from datetime import datetime, timedelta

from schemas.signals import (
    ACCOUNT,
    ACCOUNT_SECONDS,
    BREAKER,
    CACHE,
    ENGINE,
    INTAKE,
    MEDIA_HOST,
    RATE,
    WORKER_STATE_SECONDS,
    AccountState,
    BreakerState,
    CacheState,
    EngineState,
    IntakeSignal,
    RateState,
)
from streams.cluster.shared_state import SharedState, Signal
from streams.media_host_waits import WaitingHost, read_waiting_hosts

STALE_ACCOUNT = timedelta(seconds=3 * ACCOUNT_SECONDS)

STALE_WORKER = timedelta(seconds=3 * WORKER_STATE_SECONDS)


def breakers(state: SharedState) -> tuple[BreakerState, ...]:
    return tuple(found for _, found in _read(state, BREAKER, BreakerState))


def rates(state: SharedState) -> tuple[RateState, ...]:
    return tuple(found for _, found in _read(state, RATE, RateState))


def accounts(state: SharedState, now: datetime) -> tuple[AccountState, ...]:
    """Return the accounts that a worker has."""
    found = (each for _, each in _read(state, ACCOUNT, AccountState))
    return tuple(each for each in found if now - each.at < STALE_ACCOUNT)


def caches(state: SharedState, now: datetime) -> tuple[CacheState, ...]:
    """Return the caches of the workers that run, by stage and worker."""
    found = (each for _, each in _read(state, CACHE, CacheState))
    return tuple(each for each in found if now - each.at < STALE_WORKER)


def engines(state: SharedState, now: datetime) -> tuple[EngineState, ...]:
    """Return the engines of the workers that run, by worker."""
    found = (each for _, each in _read(state, ENGINE, EngineState))
    return tuple(each for each in found if now - each.at < STALE_WORKER)


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
