"""May an attempt be made, and by which way out? Pure: states of breakers in, an answer out.

What may not be made now becomes an error that costs the request nothing.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from schemas.attempts import breaker_name
from schemas.errors import ClipmillError, ErrorCode, Place
from schemas.job import Job
from schemas.signals import BreakerState

Permission = Literal["go", "trial", "wait", "no"]
"""``go`` as usual; ``trial`` as one of the granted trials; ``wait`` for a trial or for what the
others show; ``no``, not now."""

FAR = datetime.max.replace(tzinfo=UTC)


def permission(state: BreakerState | None, trial: str, now: datetime) -> Permission:
    """Return what a breaker permits to the event that would ask for this trial."""
    if state is None or state.state == "closed":
        return "go"
    if state.state == "half_open":
        return "trial" if trial in state.trials else "wait"
    is_due = state.until is None or state.until <= now
    return "wait" if state.state == "open" and is_due else "no"


def has_free_trials(state: BreakerState | None) -> bool:
    """Return whether asking for a trial may be answered at once."""
    return state is None or state.state != "half_open" or len(state.trials) < state.trials_max


def by_preference(egresses: Sequence[str], avoided: Sequence[str], subject: str) -> list[str]:
    """Return the ways out for a subject, best first, without those to avoid unless all are.

    One subject has the same order everywhere, so kept connections serve it again; the subjects
    are spread over the ways out, and when one is left out only its own subjects move (rendezvous
    hashing).
    """
    wanted = [name for name in egresses if name not in avoided] or list(egresses)
    return sorted(wanted, key=lambda name: _weight(name, subject))


def opens_next(states: Sequence[BreakerState]) -> BreakerState:
    """Return the breaker that lets something through first."""
    return min(states, key=lambda state: FAR if state.state == "forced_open" else _due(state))


def refusal(state: BreakerState) -> ClipmillError:
    """Return the error of an attempt that this breaker does not permit."""
    code = state.reason or ErrorCode.NETWORK_SERVER
    error = ClipmillError(code, _sentence(state), breaker=state.name)
    error.place = Place(platform=state.platform, operation=state.operation, egress=state.egress)
    error.permitted = False
    return error


def postponement(place: Place, seconds: float) -> ClipmillError:
    """Return the error of an attempt whose turn would come in so many seconds only."""
    name = breaker_name(place.platform, place.operation, place.egress)
    message = f"nothing was tried: {name} is asked as often as it may be; its turn comes later"
    error = ClipmillError(ErrorCode.RATE_LIMIT_API, message, retry_after=round(seconds, 3))
    error.place = place
    error.permitted = False
    return error


def was_postponed(job: Job) -> bool:
    """Return whether a job comes back for its turn: then it does not begin at the end again."""
    return job.parked is not None and job.parked.code is ErrorCode.RATE_LIMIT_API


def _sentence(state: BreakerState) -> str:
    how, since = state.state.replace("_", "-"), state.since.isoformat(timespec="seconds")
    parts = [f"nothing was tried: the circuit breaker {state.name} is {how} since {since}"]
    if state.reason is not None:
        parts.append(f"because of {state.reason}")
    if state.by:
        parts.append(f"by order of {state.by}")
    if state.until is not None:
        parts.append(f"until {state.until.isoformat(timespec='seconds')}")
    return " ".join(parts)


def _due(state: BreakerState) -> datetime:
    return state.until or state.since


def _weight(egress: str, subject: str) -> bytes:
    return hashlib.blake2b(f"{egress}|{subject}".encode(), digest_size=8).digest()
