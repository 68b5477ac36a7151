"""The timeline of a request: its steps and waits, from the transitions of its audit history. Pure.

A step lasts from the end of the previous one to its own transition, so it includes the time in the
queue before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from streams.history.changes import RequestEvent, parse_due
from streams.history.rows import RequestRow

FULL_WIDTH = 100.0

WIDTH_MIN = 0.7
"""Smallest width of a bar, which is still visible: 1 pixel of 150."""

STEP_ENDS = frozenset({"accepted", "extracted", "selected", "finished"})
"""Transitions at the end of a step; except for retries, the other ones take no time."""

RETRIES = frozenset({"retrying", "parked"})

_SHOWN_APART = frozenset({"code", "due", "step", "endpoint"})


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A step, a failed attempt of one, or the wait before the next attempt.

    Attributes:
        step: name of the stage; of a wait, that of the stage whose attempt is due.
        start: epoch seconds.
        offset: begin as a part of the whole, 0 to `FULL_WIDTH`.
        width: duration as a part of the whole.
        error: error code of a failed attempt.
        endpoint: ``<platform>:<operation>:<egress>`` of a failed attempt over the network.
        changes: what the next attempt does in another way, by name.
        is_open: it has not ended yet.
    """

    kind: Literal["step", "failed", "wait"]
    step: str
    start: float
    seconds: float
    offset: float = 0.0
    width: float = 0.0
    error: str | None = None
    endpoint: str | None = None
    changes: dict[str, str] = {}
    is_open: bool = False


def timeline(row: RequestRow, events: Sequence[RequestEvent], now: float) -> list[Phase]:
    """Return the phases of a request in order, none when no transition is retained."""
    phases: list[Phase] = []
    start = row.received_at
    due: float | None = None
    for event in (each for each in events if each.transition in STEP_ENDS | RETRIES):
        if due is not None:
            phases.append(_wait(phases[-1].step, start, min(due, event.at)))
            start = max(start, min(due, event.at))
            due = None
        phases.append(_phase(row, event, start))
        start = max(start, event.at)
        due = due_of(event)
    if due is not None and not row.is_final:
        phases.append(_wait(phases[-1].step, start, now, is_open=True))
    return _scaled(phases)


def due_of(event: RequestEvent) -> float | None:
    """Return the time of the attempt that a transition has scheduled."""
    return parse_due(event.detail.get("due")) if event.transition in RETRIES else None


def failed_endpoints(phases: Iterable[Phase]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return the endpoints with failed attempts, each with the numbers of its error codes."""
    found: dict[str, Counter[str]] = {}
    for phase in phases:
        if phase.kind == "failed" and phase.endpoint is not None:
            found.setdefault(phase.endpoint, Counter())[phase.error or ""] += 1
    return [(endpoint, codes.most_common()) for endpoint, codes in sorted(found.items())]


def _phase(row: RequestRow, event: RequestEvent, start: float) -> Phase:
    seconds = max(0.0, event.at - start)
    if event.transition in RETRIES:
        return Phase(
            kind="failed",
            step=event.detail.get("step", event.step),
            start=start,
            seconds=seconds,
            error=event.detail.get("code"),
            endpoint=event.detail.get("endpoint"),
            changes={name: it for name, it in event.detail.items() if name not in _SHOWN_APART},
        )
    has_failed = event.transition == "finished" and row.error is not None and row.is_final
    return Phase(
        kind="failed" if has_failed else "step",
        step=event.step,
        start=start,
        seconds=seconds,
        error=row.error if has_failed else None,
    )


def _wait(step: str, start: float, end: float, *, is_open: bool = False) -> Phase:
    return Phase(
        kind="wait", step=step, start=start, seconds=max(0.0, end - start), is_open=is_open
    )


def _scaled(phases: list[Phase]) -> list[Phase]:
    if not phases:
        return []
    begin, end = phases[0].start, max(each.start + each.seconds for each in phases)
    factor = FULL_WIDTH / (end - begin) if end > begin else 0.0
    return [
        msgspec.structs.replace(
            each,
            offset=min((each.start - begin) * factor, FULL_WIDTH - WIDTH_MIN),
            width=max(each.seconds * factor, WIDTH_MIN),
        )
        for each in phases
    ]
