import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.commit_metadata import commit_metadata, finished_ahead


@given(st.integers(0, 999_999_999))
def test_commit_metadata_round_trips(ahead: int) -> None:
    assert finished_ahead(commit_metadata(ahead)) == ahead


@pytest.mark.parametrize(
    "text",
    ["", "x", "finished-ahead=", "finished-ahead=-3", "finished-ahead=1 ", "finished-ahead=\u0663"],
)
def test_foreign_metadata_counts_as_nothing_finished(text: str) -> None:
    assert finished_ahead(text) == 0
