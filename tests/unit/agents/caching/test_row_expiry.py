import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.row_expiry import (
    ROW_OVERHEAD_BYTES,
    expiry_of,
    keys_to_evict,
)
from schemas.codec import encode
from tests.unit.agents.caching.slices import keys_in, slices_of

NOW = 1_000.0
UNLIMITED = 10**9


def row(expires_at: float, size: int = 0) -> bytes:
    return encode({"expires_at": expires_at, "more": "x" * size})


def weight(*rows: bytes) -> int:
    return sum(len(each) + ROW_OVERHEAD_BYTES for each in rows)


@pytest.mark.parametrize(
    ("row", "expires_at"),
    [
        (encode({"expires_at": NOW + 1, "more": [1]}), NOW + 1),
        (encode({"expires_at": NOW}), NOW),
        (encode({"expires_at": "never"}), 0.0),
        (b'{"expires_at":1e999}', 0.0),
        (b'{"expires_at":1' + b"0" * 400 + b"}", 0.0),
        (b'{"expires_at":NaN}', 0.0),
        (b'{"expires_at":Infinity}', 0.0),
        (b"", 0.0),
        (b"[", 0.0),
    ],
    ids=[
        "in the future",
        "now",
        "text",
        "out of range",
        "with too many digits",
        "not a number",
        "infinity",
        "empty",
        "broken",
    ],
)
def test_expiry_of_an_unreadable_row_is_past(row: bytes, expires_at: float) -> None:
    assert expiry_of(row) == expires_at


def test_expired_rows_are_evicted() -> None:
    rows = {"a": row(NOW), "b": row(NOW + 1), "c": b"\xff"}
    assert keys_in(keys_to_evict(slices_of(rows), NOW, UNLIMITED)) == ["a", "c"]


ROWS = {"late": row(NOW + 9), "soon": row(NOW + 1), "next": row(NOW + 5)}


@pytest.mark.parametrize(
    ("bytes_max", "evicted"),
    [
        (weight(*ROWS.values()), []),
        (weight(*ROWS.values()) - 1, ["soon"]),
        (weight(ROWS["late"], ROWS["next"]), ["soon"]),
        (weight(ROWS["late"], ROWS["next"]) - 1, ["soon", "next"]),
        (0, ["soon", "next", "late"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_rows_that_expire_first_are_evicted(bytes_max: int, evicted: list[str], size: int) -> None:
    found = keys_in(keys_to_evict(slices_of(ROWS, size), NOW, bytes_max))
    assert sorted(found) == sorted(evicted)


def test_expired_rows_are_evicted_before_others() -> None:
    rows = {**ROWS, "expired": row(NOW, size=1_000)}
    assert keys_in(keys_to_evict(slices_of(rows), NOW, weight(*ROWS.values()))) == ["expired"]


@given(
    rows=st.dictionaries(
        st.text(max_size=3), st.tuples(st.floats(0, 2_000), st.integers(0, 500)), max_size=8
    ),
    bytes_max=st.integers(0, 3_000),
    size=st.integers(1, 4),
)
def test_eviction_is_sufficient_and_minimal(
    rows: dict[str, tuple[float, int]], bytes_max: int, size: int
) -> None:
    encoded = {key: row(expires_at, more) for key, (expires_at, more) in rows.items()}
    evicted = keys_in(keys_to_evict(slices_of(encoded, size), NOW, bytes_max))
    assert len(set(evicted)) == len(evicted)
    kept = {key: each for key, each in encoded.items() if key not in evicted}
    assert weight(*kept.values()) <= bytes_max
    unexpired = [encoded[key] for key in evicted if expiry_of(encoded[key]) > NOW]
    if unexpired:
        # Rows that expire within one second count as equal.
        last = max(int(expiry_of(each)) for each in unexpired)
        marginal = [each for each in unexpired if int(expiry_of(each)) == last]
        assert weight(*kept.values(), max(marginal, key=len)) > bytes_max
        assert all(int(expiry_of(each)) >= last for each in kept.values())


def test_row_that_is_renewed_between_slices_is_kept() -> None:
    rows = {"a": row(NOW + 1), "b": row(NOW + 2), "c": row(NOW + 3)}
    sweeping = keys_to_evict(slices_of(rows, 1), NOW, weight(rows["b"], rows["c"]))
    assert [next(sweeping) for _ in range(3)] == [[], [], []]
    rows["a"] = row(NOW + 9)
    assert keys_in(sweeping) == []
