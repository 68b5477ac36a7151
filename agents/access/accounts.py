"""Authenticator of the settings; gauges and the shared state of its accounts."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from prometheus_client import Gauge

from agents.accounts.interface import AccountStatus, Authenticator, LoginSettings
from agents.accounts.registry import load_authenticator
from agents.platforms.registry import Platforms
from schemas.codec import encode
from schemas.signals import ACCOUNT, ACCOUNT_SECONDS, AccountState
from streams.envelope import seal
from streams.observability.metrics import (
    ACCOUNT_EXPIRY,
    ACCOUNT_HEALTHY,
    ACCOUNT_LAST_SUCCESS,
    ACCOUNT_UNSAVED,
)
from streams.records import Outgoing
from streams.settings import AuthSettings
from streams.stage import StageContext
from streams.topics import SIGNALS

SWEEP_SECONDS = 2.0
"""Interval, in seconds, at which the gauges of accounts are updated."""


def open_authenticator(
    settings: AuthSettings, hosts: Mapping[str, tuple[str, ...]] | None = None
) -> Authenticator:
    """Return the authenticator of the settings.

    Args:
        settings: locations of the accounts.
        hosts: page hosts by platform; required if accounts are used.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or broken.
    """
    options = {name: value.get_secret_value() for name, value in settings.options.items()}
    return load_authenticator(
        settings.authenticator,
        LoginSettings(
            cookie_files=settings.cookie_files,
            session_cookies=settings.session_cookies,
            hosts=hosts or {},
            write_seconds=settings.write_seconds,
            options=options,
        ),
    )


@asynccontextmanager
async def stage_authenticator(
    context: StageContext, platforms: Platforms
) -> AsyncIterator[Authenticator]:
    """Provide a stage with the authenticator of the settings; closing saves its unsaved state.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or broken.
    """
    capabilities = {name: platforms.by_name(name).get_capabilities() for name in platforms.names}
    hosts = {name: each.page_hosts for name, each in capabilities.items()}
    authenticator = open_authenticator(context.settings.auth, hosts)
    gauges, states = AccountGauges(), AccountStates()

    def sweep() -> tuple[Sequence[Outgoing], ...]:
        statuses = authenticator.health_report()
        gauges.update(statuses)
        return (states.update(statuses, time.time()),)

    context.periodic.append((SWEEP_SECONDS, sweep))
    try:
        yield authenticator
    finally:
        await authenticator.close()


class AccountStates:
    """Publishes the status of accounts when it changes, and every `ACCOUNT_SECONDS`."""

    def __init__(self) -> None:
        self._published: dict[str, AccountState] = {}

    def update(self, statuses: Sequence[AccountStatus], now: float) -> list[Outgoing]:
        """Return the records of these accounts, and a tombstone for each one that is gone."""
        states = {each.name: each for each in (_state(it, now) for it in statuses)}
        gone = self._published.keys() - states.keys()
        due = [each for name, each in states.items() if _is_due(self._published.get(name), each)]
        self._published |= {each.name: each for each in due}
        for name in gone:
            del self._published[name]
        tombstones = [Outgoing(SIGNALS, f"{ACCOUNT}{name}".encode(), None) for name in sorted(gone)]
        return [*map(_record, due), *tombstones]


def _state(status: AccountStatus, now: float) -> AccountState:
    return AccountState(
        platform=status.platform,
        account=status.account,
        healthy=status.healthy,
        last_success_at=_moment(status.last_success_at),
        expires_at=_moment(status.expires_at),
        unsaved=status.unsaved,
        at=datetime.fromtimestamp(now, UTC),
    )


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)


def _is_due(published: AccountState | None, state: AccountState) -> bool:
    if published is None or (state.at - published.at).total_seconds() >= ACCOUNT_SECONDS:
        return True
    # A success changes with every request.
    before, after = (
        msgspec.structs.replace(each, last_success_at=None, at=state.at)
        for each in (published, state)
    )
    return before != after


def _record(state: AccountState) -> Outgoing:
    return seal(
        SIGNALS,
        f"{ACCOUNT}{state.name}",
        encode(state),
        kind="account.changed.v1",
        step="extraction",
        event_id=f"account:{state.name}:{state.at.isoformat()}",
        request_id=state.name,
        trace_id=secrets.token_hex(16),
    )


class AccountGauges:
    """Gauges of the accounts; those of an account that is gone are removed."""

    def __init__(self) -> None:
        self._labels: set[tuple[str, str]] = set()

    def update(self, statuses: Sequence[AccountStatus]) -> None:
        present = {(each.platform, each.account) for each in statuses}
        for labels in self._labels - present:
            for gauge in _GAUGES:
                _remove(gauge, labels)
        self._labels = present
        for status in statuses:
            _set_gauges(status)


_GAUGES = (ACCOUNT_HEALTHY, ACCOUNT_LAST_SUCCESS, ACCOUNT_EXPIRY, ACCOUNT_UNSAVED)


def _set_gauges(status: AccountStatus) -> None:
    labels = status.platform, status.account
    ACCOUNT_HEALTHY.labels(*labels).set(status.healthy)
    ACCOUNT_UNSAVED.labels(*labels).set(status.unsaved)
    _set_timestamp(ACCOUNT_LAST_SUCCESS, labels, status.last_success_at)
    _set_timestamp(ACCOUNT_EXPIRY, labels, status.expires_at)


def _set_timestamp(gauge: Gauge, labels: tuple[str, str], timestamp: float | None) -> None:
    if timestamp is None:
        _remove(gauge, labels)
    else:
        gauge.labels(*labels).set(timestamp)


def _remove(gauge: Gauge, labels: tuple[str, str]) -> None:
    gauge.remove(*labels)
