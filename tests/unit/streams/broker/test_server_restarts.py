import pytest

from streams.broker.server import RestartPolicy

POLICY = RestartPolicy(
    short_life_seconds=10, max_short_lives=6, first_delay_seconds=0.5, max_delay_seconds=3
)


@pytest.mark.parametrize(
    ("before", "lived", "was_ready", "after"),
    [
        pytest.param(0, 9.9, True, 1, id="short"),
        pytest.param(3, 9.9, True, 4, id="short again"),
        pytest.param(3, 10.0, True, 0, id="long life forgives"),
        pytest.param(3, 60.0, False, 4, id="never ready is short however long"),
    ],
)
def test_short_lives_are_counted(before: int, lived: float, was_ready: bool, after: int) -> None:
    assert POLICY.count(before, lived, was_ready=was_ready) == after


@pytest.mark.parametrize(
    ("short_lives", "delay"),
    [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (5, 3.0), (6, None), (7, None)],
)
def test_the_wait_grows_to_a_bound_and_ends(short_lives: int, delay: float | None) -> None:
    assert POLICY.delay(short_lives) == delay


def test_by_default_one_death_costs_next_to_nothing() -> None:
    assert RestartPolicy().delay(1) == pytest.approx(0.2)
