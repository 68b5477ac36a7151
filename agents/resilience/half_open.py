"""The trials of a half-open circuit breaker: a few attempts that show how the platform is. Pure."""

from typing import Literal

import msgspec

SILENT_MAX = 100
"""Void trials that are remembered, about 40 bytes each: a long download may still report."""


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """One attempt that is permitted.

    Attributes:
        id: the same for every copy of one event.
        granted_at: epoch seconds.
        void: its slot is free for another: it told nothing, or was not heard of for too long.
        passed: what came of it; None as long as that is not known.
    """

    id: str
    granted_at: float
    void: bool = False
    passed: bool | None = None


Trials = tuple[Trial, ...]

Verdict = Literal["passed", "failed"]


def slots(trials: Trials) -> tuple[str, ...]:
    """Return the ids of the trials that hold a slot."""
    return tuple(trial.id for trial in trials if not trial.void)


def grant(trials: Trials, trial_id: str, limit: int, now: float) -> Trials:
    """Return the trials with one more, if one of ``limit`` slots is free.

    Asking twice is asking once; one that was void gets a new slot.
    """
    held = slots(trials)
    if trial_id in held or len(held) >= limit:
        return trials
    others = tuple(trial for trial in trials if trial.id != trial_id)
    return (*others, Trial(trial_id, now))


def report(trials: Trials, trial_id: str | None, *, passed: bool) -> Trials:
    """Return the trials with the result of one; it counts when it is void too, but only once."""
    return _mark(trials, trial_id, passed=passed)


def withdraw(trials: Trials, trial_id: str | None) -> Trials:
    """Return the trials with one void that has ended without telling anything."""
    return _mark(trials, trial_id, void=True)


def _mark(trials: Trials, trial_id: str | None, **marks: bool) -> Trials:
    return tuple(
        msgspec.structs.replace(trial, **marks)
        if trial.id == trial_id and trial.passed is None
        else trial
        for trial in trials
    )


def void_overdue(trials: Trials, seconds: float, now: float) -> Trials:
    """Return the trials with those void that were not heard of for ``seconds``.

    Of the void ones the oldest are forgotten. A clock that was set back makes some later than now:
    they count as of now.
    """
    marked = tuple(
        msgspec.structs.replace(
            trial,
            granted_at=min(trial.granted_at, now),
            void=trial.void or (trial.passed is None and now - trial.granted_at >= seconds),
        )
        for trial in trials
    )
    silent = [trial.id for trial in marked if trial.void and trial.passed is None]
    forgotten = set(silent[:-SILENT_MAX])
    return tuple(trial for trial in marked if trial.id not in forgotten)


def verdict(trials: Trials, limit: int) -> Verdict | None:
    """Return what most of ``limit`` trials say, as soon as the others cannot change it.

    With an even limit, one half is not enough to pass.
    """
    if 2 * sum(trial.passed is True for trial in trials) > limit:
        return "passed"
    if 2 * sum(trial.passed is False for trial in trials) >= limit:
        return "failed"
    return None
