"""From the settings to the authenticator, and what the metrics show of its accounts."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from agents.accounts.interface import Authenticator, LoginSettings, Standing
from agents.accounts.registry import load_authenticator
from agents.platforms.registry import Platforms
from streams.observability.metrics import (
    ACCOUNT_EXPIRY,
    ACCOUNT_HEALTHY,
    ACCOUNT_LAST_SUCCESS,
    ACCOUNT_UNSAVED,
)
from streams.records import Effect
from streams.settings import AuthSettings
from streams.stage import StageContext

SWEEP_SECONDS = 2.0
"""How old what the metrics show of accounts may be."""


def open_authenticator(
    settings: AuthSettings, hosts: Mapping[str, tuple[str, ...]] | None = None
) -> Authenticator:
    """Return the authenticator of the settings.

    Args:
        settings: where the accounts are.
        hosts: of the pages of each platform; needed where accounts are used.

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
async def logins(context: StageContext, platforms: Platforms) -> AsyncIterator[Authenticator]:
    """Lend the authenticator of the settings to a stage, and keep what it still has to keep.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or broken.
    """
    named = {name: platforms.by_name(name).get_capabilities() for name in platforms.names}
    hosts = {name: each.page_hosts for name, each in named.items()}
    authenticator = open_authenticator(context.settings.auth, hosts)
    shown = ShownAccounts()

    def sweep() -> list[Effect]:
        shown.show(authenticator.health_report())
        return []

    context.sweeps.append((SWEEP_SECONDS, sweep))
    try:
        yield authenticator
    finally:
        await authenticator.close()


class ShownAccounts:
    """The accounts that metrics show now: one that is gone is not shown any more."""

    def __init__(self) -> None:
        self._labels: set[tuple[str, str]] = set()

    def show(self, standings: Sequence[Standing]) -> None:
        """Show how all accounts fare."""
        now = {(each.platform, each.account) for each in standings}
        for labels in self._labels - now:
            for gauge in _GAUGES:
                _hide(gauge, labels)
        self._labels = now
        for standing in standings:
            _show(standing)


_GAUGES = (ACCOUNT_HEALTHY, ACCOUNT_LAST_SUCCESS, ACCOUNT_EXPIRY, ACCOUNT_UNSAVED)


def _show(standing: Standing) -> None:
    labels = standing.platform, standing.account
    ACCOUNT_HEALTHY.labels(*labels).set(standing.healthy)
    ACCOUNT_UNSAVED.labels(*labels).set(standing.unsaved)
    _show_moment(ACCOUNT_LAST_SUCCESS, labels, standing.last_success_at)
    _show_moment(ACCOUNT_EXPIRY, labels, standing.expires_at)


def _show_moment(gauge: Gauge, labels: tuple[str, str], moment: float | None) -> None:
    if moment is None:
        _hide(gauge, labels)
    else:
        gauge.labels(*labels).set(moment)


def _hide(gauge: Gauge, labels: tuple[str, str]) -> None:
    gauge.remove(*labels)
