from datetime import timedelta

import pytest

from docs.generate.markdown import duration, head, table


def test_pipe_and_line_break_in_a_cell_do_not_end_it() -> None:
    assert table(("a", "b"), [("1 | 2", "x\n y")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 \\| 2 | x y |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.5, "0.5 s"),
        (90, "90 s"),
        (120, "2 min"),
        (3_600, "1 h"),
        (timedelta(days=7), "7 d"),
    ],
)
def test_duration_is_in_its_largest_whole_unit(seconds: float | timedelta, text: str) -> None:
    assert duration(seconds) == text


def test_head_states_the_generator() -> None:
    assert head("Title", "Text.").startswith("# Title\n\nText.\n\nGenerated")
