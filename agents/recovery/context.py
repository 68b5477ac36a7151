"""Inputs of a decision about a failure: the breaker's state, and the recovery options."""

from collections.abc import Callable
from datetime import datetime

from agents.access.breaker_client import breaker_state
from agents.access.egress import egress_names
from agents.pipeline.events import Event
from agents.recovery.decisions import RecoveryOptions
from schemas.errors import endpoint_key
from schemas.events import SelectedVideo
from schemas.failure import Failure
from schemas.signals import BreakerState
from streams.cluster.shared_state import SharedState
from streams.settings import Settings

Accounts = Callable[[str], tuple[str, ...]]
"""Returns the account names of a platform."""


def breaker_of(failure: Failure, shared_state: SharedState, now: datetime) -> BreakerState | None:
    """Return the breaker of the failed call; None when there is none, or no call was made."""
    return None if failure.egress is None else _breaker(failure, failure.egress, shared_state, now)


def options_of(
    failure: Failure,
    event: Event,
    settings: Settings,
    shared_state: SharedState,
    accounts: Accounts,
    *,
    now: datetime,
) -> RecoveryOptions:
    """Return the recovery options after a failure."""
    return RecoveryOptions(
        egresses=tuple(
            name
            for name in egress_names(settings)
            if _is_closed(_breaker(failure, name, shared_state, now))
        ),
        accounts=() if failure.platform is None else accounts(failure.platform),
        formats=event.info.formats if isinstance(event, SelectedVideo) else (),
    )


def _is_closed(breaker: BreakerState | None) -> bool:
    return breaker is None or breaker.state == "closed"


def _breaker(
    failure: Failure, egress: str, shared_state: SharedState, now: datetime
) -> BreakerState | None:
    name = endpoint_key(failure.platform or "", failure.operation or "", egress)
    return breaker_state(shared_state, name, now)
