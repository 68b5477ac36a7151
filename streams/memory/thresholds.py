"""The decision what to do about the memory in use: a pure function with hysteresis."""

from dataclasses import dataclass, replace
from typing import Literal

from streams.settings import MemorySettings

Action = Literal["nothing", "relieve", "pause", "resume", "give_up"]
"""Let go of caches, stop or start the intakes, or end the process to be started afresh."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """What was done so far; times are seconds on the monitor's clock.

    Attributes:
        relieved_at: when caches were last let go of.
        paused_at: since when nothing is taken in, None when it is.
    """

    relieved_at: float | None = None
    paused_at: float | None = None


def decide(
    pressure: Pressure, used_share: float, now: float, settings: MemorySettings
) -> tuple[Pressure, Action]:
    """Return what to do, and what will have been done then.

    A relief comes before a pause: ask again afterwards, with what is in use then.

    Args:
        pressure: what was done so far.
        used_share: memory in use as a share of the limit.
        now: seconds on the monitor's clock.
        settings: the thresholds.
    """
    if used_share >= settings.relief_share and _may_relieve(pressure, now, settings):
        return replace(pressure, relieved_at=now), "relieve"
    if pressure.paused_at is None:
        if used_share >= settings.pause_share:
            return replace(pressure, paused_at=now), "pause"
        return pressure, "nothing"
    if used_share < settings.resume_share:
        return replace(pressure, paused_at=None), "resume"
    if now - pressure.paused_at >= settings.give_up_seconds:
        return pressure, "give_up"
    return pressure, "nothing"


def _may_relieve(pressure: Pressure, now: float, settings: MemorySettings) -> bool:
    return pressure.relieved_at is None or now - pressure.relieved_at >= settings.relief_seconds
