"""The table of network errors, checked against exceptions that the libraries really raise."""

import msgspec
import pytest

from agents.network.errors import TABLE
from tests.conftest import NetworkGuard
from tests.integration.network_samples import FAILURE_CASES, SAMPLES, Sample, samples

RECORDED = msgspec.json.decode(SAMPLES.read_bytes(), type=dict[str, Sample])


async def test_failures_equal_the_recorded_ones(network_guard: NetworkGuard) -> None:
    # The host names are too long to be sent to a resolver.
    with network_guard.disarmed():
        assert await samples() == RECORDED


def test_every_failure_case_is_recorded() -> None:
    assert RECORDED.keys() == FAILURE_CASES.keys()


@pytest.mark.parametrize("row", [row.name for row in TABLE])
def test_every_row_matches_a_recorded_failure(row: str) -> None:
    assert row in {sample.row for sample in RECORDED.values()}
