"""Trial calls of a half-open circuit breaker: grant, result, withdrawal, timeout. Pure."""

from typing import Literal

import msgspec

VOID_TRIALS_MAX = 100
"""Void trials that are kept, about 40 bytes each: a long download may still report its result."""


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """One permitted call.

    Attributes:
        id: the same for every copy of one event.
        granted_at: epoch seconds.
        void: its slot is free: it was withdrawn, was inconclusive, or timed out.
        passed: its result; None until it is reported.
    """

    id: str
    granted_at: float
    void: bool = False
    passed: bool | None = None


Trials = tuple[Trial, ...]

TrialResult = Literal["passed", "failed"]


def slots(trials: Trials) -> tuple[str, ...]:
    """Return the ids of the trials that hold a slot."""
    return tuple(trial.id for trial in trials if not trial.void)


def grant(trials: Trials, trial_id: str, limit: int, now: float) -> Trials:
    """Return the trials with one more, if one of ``limit`` slots is free.

    Idempotent; a trial that is void gets a new slot.
    """
    held = slots(trials)
    if trial_id in held or len(held) >= limit:
        return trials
    others = tuple(trial for trial in trials if trial.id != trial_id)
    return (*others, Trial(trial_id, now))


def report(trials: Trials, trial_id: str | None, *, passed: bool) -> Trials:
    """Return the trials with the result of one; the first result counts, of a void trial too."""
    return _update(trials, trial_id, passed=passed)


def withdraw(trials: Trials, trial_id: str | None) -> Trials:
    """Return the trials with the slot of one freed, unless it has a result."""
    return _update(trials, trial_id, void=True)


def _update(trials: Trials, trial_id: str | None, **changes: bool) -> Trials:
    return tuple(
        msgspec.structs.replace(trial, **changes)
        if trial.id == trial_id and trial.passed is None
        else trial
        for trial in trials
    )


def expire_overdue(trials: Trials, seconds: float, now: float) -> Trials:
    """Return the trials with those void that have had no result for ``seconds``.

    The oldest void ones above `VOID_TRIALS_MAX` are dropped. A clock that is set back leaves times
    in the future; they are set to now.
    """
    marked = tuple(
        msgspec.structs.replace(
            trial,
            granted_at=min(trial.granted_at, now),
            void=trial.void or (trial.passed is None and now - trial.granted_at >= seconds),
        )
        for trial in trials
    )
    void = [trial.id for trial in marked if trial.void and trial.passed is None]
    dropped = set(void[:-VOID_TRIALS_MAX])
    return tuple(trial for trial in marked if trial.id not in dropped)


def majority_result(trials: Trials, limit: int) -> TrialResult | None:
    """Return the majority result of ``limit`` trials, as soon as it is certain.

    With an even limit, one half is not enough to pass.
    """
    if 2 * sum(trial.passed is True for trial in trials) > limit:
        return "passed"
    if 2 * sum(trial.passed is False for trial in trials) >= limit:
        return "failed"
    return None
