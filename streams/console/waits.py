"""Why an undecided request is not processed now, by its transitions and the shared state."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from schemas.signals import BREAKER, INTAKE, BreakerState, IntakeSignal
from streams.cluster.shared_state import SharedState
from streams.console.timeline import RETRIES
from streams.history.changes import Event
from streams.history.rows import RequestRow

NEXT_STAGES: Mapping[str, str] = MappingProxyType(
    {"accepted": "extraction", "extracted": "selection", "selected": "download"}
)
"""The stage that has a request, or its queue, by the state of the request."""


def waiting_reasons(
    row: RequestRow, events: Sequence[Event], shared_state: SharedState
) -> list[str]:
    """Return why a request is not processed now, a sentence each; none of a decided one."""
    if row.is_final:
        return []
    stage = NEXT_STAGES.get(row.state, row.step or "")
    retry = next((each for each in reversed(events) if each.transition in RETRIES), None)
    if row.due is None or retry is None:
        reasons = [f"It is in the queue of the stage {stage}, or processed there."]
    else:
        reasons = [_reason_of(retry, stage)]
        reasons += _breaker_reasons(retry.detail.get("endpoint", ""), shared_state)
    intake = shared_state.read(f"{INTAKE}{stage}", IntakeSignal)
    if intake is not None and intake.paused:
        reasons.append(f"The stage {stage} is paused: {intake.reason}")
    return reasons


def _reason_of(retry: Event, stage: str) -> str:
    code = retry.detail.get("code", "an unknown error")
    if retry.transition == "parked":
        return f"The cause of {code} is outside of the request: the wait uses up no attempt."
    return f"The stage {stage} is repeated after {code}; the wait grows with each attempt."


def _breaker_reasons(endpoint: str, shared_state: SharedState) -> list[str]:
    breaker = shared_state.read(f"{BREAKER}{endpoint}", BreakerState)
    if breaker is None or breaker.state == "closed":
        return []
    state = breaker.state.replace("_", " ")
    since = f"{breaker.since:%Y-%m-%d %H:%M:%S} UTC"
    return [f"The circuit breaker {endpoint} is {state} since {since}."]
