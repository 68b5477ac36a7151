from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory.monitor import Action, Pressure, decide
from streams.settings import MemorySettings

SETTINGS = MemorySettings(
    relief_share=0.75,
    pause_share=0.9,
    resume_share=0.8,
    relief_seconds=60,
    give_up_seconds=600,
)
NOW = 1_000.0
FRESH = Pressure()
RELIEVED = Pressure(relieved_at=NOW - 1)
PAUSED = Pressure(relieved_at=NOW - 1, paused_at=NOW - 1)
WORN = Pressure(relieved_at=NOW - 1, paused_at=NOW - 600)


@pytest.mark.parametrize(
    ("pressure", "share", "action"),
    [
        pytest.param(FRESH, 0.5, "nothing", id="plenty"),
        pytest.param(FRESH, 0.749, "nothing", id="just below the relief"),
        pytest.param(FRESH, 0.75, "relieve", id="at the relief"),
        pytest.param(FRESH, 0.95, "relieve", id="a relief comes before a pause"),
        pytest.param(RELIEVED, 0.8, "nothing", id="relieved a second ago"),
        pytest.param(Pressure(relieved_at=NOW - 60), 0.8, "relieve", id="relieved a minute ago"),
        pytest.param(RELIEVED, 0.899, "nothing", id="just below the pause"),
        pytest.param(RELIEVED, 0.9, "pause", id="the relief did not help"),
        pytest.param(RELIEVED, 3.0, "pause", id="far beyond the limit"),
        pytest.param(PAUSED, 0.95, "nothing", id="paused already"),
        pytest.param(PAUSED, 0.85, "nothing", id="hysteresis"),
        pytest.param(PAUSED, 0.8, "nothing", id="at the resume"),
        pytest.param(PAUSED, 0.79, "resume", id="below the resume"),
        pytest.param(WORN, 0.95, "give_up", id="paused for too long"),
        pytest.param(WORN, 0.85, "give_up", id="too long, though below the pause"),
        pytest.param(WORN, 0.5, "resume", id="at the last moment"),
        pytest.param(
            Pressure(relieved_at=NOW - 60, paused_at=NOW - 600), 0.95, "relieve", id="once more"
        ),
    ],
)
def test_what_is_done(pressure: Pressure, share: float, action: Action) -> None:
    assert decide(pressure, share, NOW, SETTINGS)[1] == action


def test_what_was_done_is_remembered() -> None:
    pressure, _ = decide(FRESH, 0.95, 1.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0)
    pressure, _ = decide(pressure, 0.95, 2.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0, paused_at=2.0)
    pressure, _ = decide(pressure, 0.95, 3.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0, paused_at=2.0)
    pressure, _ = decide(pressure, 0.5, 4.0, SETTINGS)
    assert pressure == Pressure(relieved_at=1.0)


SHARES = st.lists(st.floats(min_value=0, max_value=2), max_size=60)


@given(SHARES, st.floats(min_value=0.5, max_value=30))
def test_over_any_course(shares: list[float], step: float) -> None:
    """Reliefs keep their distance, pauses and resumes take turns and keep their thresholds."""
    pressure, now = Pressure(), 0.0
    reliefs: list[float] = []
    turns: list[Action] = []
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
            turns.append(action)
        elif action == "resume":
            assert share < SETTINGS.resume_share
            assert was_paused
            turns.append(action)
    gaps = [later - earlier for earlier, later in pairwise(reliefs)]
    assert all(gap >= SETTINGS.relief_seconds for gap in gaps)
    assert turns == (["pause", "resume"] * len(turns))[: len(turns)]
