from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory.monitor import MemoryAction, Pressure, decide
from streams.settings import MemorySettings

SETTINGS = MemorySettings(
    relief_share=0.75,
    pause_share=0.9,
    resume_share=0.8,
    relief_seconds=60,
    give_up_seconds=600,
)
NOW = 1_000.0
IDLE = Pressure()
RELIEVED = Pressure(relieved_at=NOW - 1)
PAUSED = Pressure(relieved_at=NOW - 1, paused_at=NOW - 1)
PAUSED_LONG = Pressure(relieved_at=NOW - 1, paused_at=NOW - 600)


@pytest.mark.parametrize(
    ("pressure", "share", "action"),
    [
        pytest.param(IDLE, 0.5, "nothing", id="low usage"),
        pytest.param(IDLE, 0.749, "nothing", id="just below the relief threshold"),
        pytest.param(IDLE, 0.75, "relieve", id="at the relief threshold"),
        pytest.param(IDLE, 0.95, "relieve", id="relief precedes pause"),
        pytest.param(RELIEVED, 0.8, "nothing", id="relieved a second ago"),
        pytest.param(Pressure(relieved_at=NOW - 60), 0.8, "relieve", id="relieved a minute ago"),
        pytest.param(RELIEVED, 0.899, "nothing", id="just below the pause threshold"),
        pytest.param(RELIEVED, 0.9, "pause", id="relief was insufficient"),
        pytest.param(RELIEVED, 3.0, "pause", id="far beyond the limit"),
        pytest.param(PAUSED, 0.95, "nothing", id="paused already"),
        pytest.param(PAUSED, 0.85, "nothing", id="hysteresis"),
        pytest.param(PAUSED, 0.8, "nothing", id="at the resume threshold"),
        pytest.param(PAUSED, 0.79, "resume", id="below the resume threshold"),
        pytest.param(PAUSED_LONG, 0.95, "give_up", id="paused for too long"),
        pytest.param(
            PAUSED_LONG, 0.85, "give_up", id="paused for too long, below the pause threshold"
        ),
        pytest.param(PAUSED_LONG, 0.5, "resume", id="resume instead of giving up"),
        pytest.param(
            Pressure(relieved_at=NOW - 60, paused_at=NOW - 600),
            0.95,
            "relieve",
            id="relief before giving up",
        ),
    ],
)
def test_action_for_pressure_and_share(
    pressure: Pressure, share: float, action: MemoryAction
) -> None:
    assert decide(pressure, share, NOW, SETTINGS)[1] == action


def test_pressure_keeps_the_times_of_relief_and_pause() -> None:
    pressure, _ = decide(IDLE, 0.95, 1.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0)
    pressure, _ = decide(pressure, 0.95, 2.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0, paused_at=2.0)
    pressure, _ = decide(pressure, 0.95, 3.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0, paused_at=2.0)
    pressure, _ = decide(pressure, 0.5, 4.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0)


SHARES = st.lists(st.floats(min_value=0, max_value=2), max_size=60)


@given(SHARES, st.floats(min_value=0.5, max_value=30))
def test_any_sequence_of_shares_respects_the_thresholds(shares: list[float], step: float) -> None:
    """Reliefs are `relief_seconds` apart; pauses and resumes alternate."""
    pressure, now = Pressure(), 0.0
    reliefs: list[float] = []
    transitions: list[MemoryAction] = []
    for share in shares:
        now += step
        was_paused = pressure.paused_at is not None
        pressure, action = decide(pressure, share, now, SETTINGS)
        if action == "relieve":
            assert share >= SETTINGS.relief_share
            reliefs.append(now)
        elif action == "pause":
            assert share >= SETTINGS.pause_share
            assert not was_paused
            transitions.append(action)
        elif action == "resume":
            assert share < SETTINGS.resume_share
            assert was_paused
            transitions.append(action)
    gaps = [later - earlier for earlier, later in pairwise(reliefs)]
    assert all(gap >= SETTINGS.relief_seconds for gap in gaps)
    assert transitions == (["pause", "resume"] * len(transitions))[: len(transitions)]
