from typing import get_args

import pytest
from click.testing import CliRunner

from schemas.results import PublishedResult
from streams.cli.results import STATUSES, ResultFilter, results


@pytest.mark.parametrize(
    ("ids", "statuses", "matches"),
    [
        ((), (), True),
        (("run-7",), (), True),
        (("run-7/3",), (), True),
        (("run",), (), False),
        (("run-*",), ("failed",), True),
        (("other", "run-*"), ("completed", "failed"), True),
        ((), ("completed",), False),
        (("other",), ("failed",), False),
    ],
)
def test_results_are_filtered_by_id_and_status(
    ids: tuple[str, ...], statuses: tuple[str, ...], matches: bool
) -> None:
    result = {"request_id": "run-7/3", "status": "failed"}
    assert ResultFilter(ids=ids, statuses=statuses).matches(result) is matches


def test_every_status_of_the_schema_can_be_filtered() -> None:
    assert len(STATUSES) == len(get_args(PublishedResult))
    assert {"completed", "rejected", "failed", "expired", "cancelled"} <= set(STATUSES)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--from", "soon"], "nor a time span such as 2h or 3d, nor beginning or end"),
        (["--status", "good"], "'good' is not one of"),
    ],
)
def test_usage_error_is_explained(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(results, arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
