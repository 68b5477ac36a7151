"""Admission claims from headers: rank, and the signals that cancel a record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import PRIORITY, Claim, cancel_keys, claim_of, priority_header
from streams.priority_queue import DEFAULT_RANK, rank_of
from streams.records import Header
from streams.topics import AUDIT
from tests.unit.streams.records import incoming


@pytest.mark.parametrize("priority", range(10))
@pytest.mark.parametrize(("request_id", "in_batch"), [("r", False), ("b/0", True), ("", False)])
def test_rank_is_derived_from_headers(priority: int, request_id: str, *, in_batch: bool) -> None:
    headers = [priority_header(priority), ("ce_correlationid", request_id.encode())]
    claim = claim_of(incoming(headers=headers), (AUDIT,))
    rank = rank_of(priority, in_batch=in_batch)
    assert claim == Claim(rank, (AUDIT,), request=request_id or None)


@pytest.mark.parametrize("value", [b"", b"10", b"-1", b"x", b"\xff", "\u0663".encode()])
def test_invalid_priority_header_gives_the_default_rank(value: bytes) -> None:
    assert claim_of(incoming(headers=[(PRIORITY, value)])).rank == DEFAULT_RANK


@given(st.lists(st.tuples(st.sampled_from([PRIORITY, "ce_correlationid"]), st.binary())))
def test_arbitrary_headers_give_a_valid_rank(headers: list[Header]) -> None:
    assert 0 <= claim_of(incoming(headers=headers)).rank < 20


@pytest.mark.parametrize(
    ("request_id", "keys"),
    [
        (None, ()),
        ("", ()),
        ("r", ("cancel/r",)),
        ("b/7", ("cancel/b/7", "cancel/b")),
        ("b/7/replay-2", ("cancel/b/7/replay-2", "cancel/b")),
        ("r/replay-2", ("cancel/r/replay-2",)),
    ],
)
def test_a_request_is_cancelled_by_its_own_signal_or_that_of_its_batch(
    request_id: str | None, keys: tuple[str, ...]
) -> None:
    assert cancel_keys(request_id) == keys
