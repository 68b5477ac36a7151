"""The table of network errors against what the libraries really raise."""

import msgspec
import pytest

from agents.network.errors import TABLE
from tests.conftest import NetworkGuard
from tests.integration.network_samples import PLAYS, SAMPLES, Sample, samples

RECORDED = msgspec.json.decode(SAMPLES.read_bytes(), type=dict[str, Sample])


async def test_failures_are_the_recorded_ones(network_guard: NetworkGuard) -> None:
    # The names are too long for any resolver to be asked.
    with network_guard.disarmed():
        assert await samples() == RECORDED


def test_every_play_is_recorded() -> None:
    assert RECORDED.keys() == PLAYS.keys()


@pytest.mark.parametrize("row", [row.name for row in TABLE])
def test_every_row_was_seen(row: str) -> None:
    assert row in {sample.row for sample in RECORDED.values()}
