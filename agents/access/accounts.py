"""Authenticator of the settings, and gauges of the health of its accounts."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from agents.accounts.interface import AccountStatus, Authenticator, LoginSettings
from agents.accounts.registry import load_authenticator
from agents.platforms.registry import Platforms
from streams.observability.metrics import (
    ACCOUNT_EXPIRY,
    ACCOUNT_HEALTHY,
    ACCOUNT_LAST_SUCCESS,
    ACCOUNT_UNSAVED,
)
from streams.settings import AuthSettings
from streams.stage import StageContext

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
    gauges = AccountGauges()

    def sweep() -> tuple[()]:
        gauges.update(authenticator.health_report())
        return ()

    context.periodic.append((SWEEP_SECONDS, sweep))
    try:
        yield authenticator
    finally:
        await authenticator.close()


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
