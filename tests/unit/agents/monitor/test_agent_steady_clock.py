import time

import pytest

from agents.monitor.agent import steady_clock


@pytest.mark.parametrize("jump", [-7_200.0, 3_000.0])
def test_wall_clock_jump_does_not_change_the_steady_clock(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = steady_clock()
    wall = time.time()
    assert clock() == pytest.approx(wall, abs=5)
    monkeypatch.setattr(time, "time", lambda: wall + jump)
    assert clock() == pytest.approx(wall, abs=5)
