import pytest

from streams.broker.server import RestartPolicy

POLICY = RestartPolicy(
    min_uptime_seconds=10, max_early_exits=6, first_delay_seconds=0.5, max_delay_seconds=3
)


@pytest.mark.parametrize(
    ("before", "uptime", "was_ready", "after"),
    [
        pytest.param(0, 9.9, True, 1, id="early exit"),
        pytest.param(3, 9.9, True, 4, id="another early exit"),
        pytest.param(3, 10.0, True, 0, id="long uptime resets the count"),
        pytest.param(3, 60.0, False, 4, id="never ready counts as early exit"),
    ],
)
def test_early_exits_are_counted(before: int, uptime: float, was_ready: bool, after: int) -> None:
    assert POLICY.count(before, uptime, was_ready=was_ready) == after


@pytest.mark.parametrize(
    ("early_exits", "delay"),
    [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (5, 3.0), (6, None), (7, None)],
)
def test_restart_delay_grows_to_its_maximum_then_restarts_end(
    early_exits: int, delay: float | None
) -> None:
    assert POLICY.delay(early_exits) == delay


def test_default_delay_after_one_exit_is_short() -> None:
    assert RestartPolicy().delay(1) == pytest.approx(0.2)
