import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.row_expiry import (
    ROW_OVERHEAD_BYTES,
    expiry_of,
    is_expired,
    keys_to_evict,
    sweep,
)
from schemas.codec import encode

NOW = 1_000.0
UNLIMITED = 10**9


def row(expires_at: float, size: int = 0) -> bytes:
    return encode({"expires_at": expires_at, "more": "x" * size})


def weight(*rows: bytes) -> int:
    return sum(len(each) + ROW_OVERHEAD_BYTES for each in rows)


@pytest.mark.parametrize(
    ("row", "expires_at", "expired"),
    [
        (encode({"expires_at": NOW + 1, "more": [1]}), NOW + 1, False),
        (encode({"expires_at": NOW}), NOW, True),
        (encode({"expires_at": "never"}), 0.0, True),
        (b'{"expires_at":1e999}', 0.0, True),
        (b'{"expires_at":1' + b"0" * 400 + b"}", 0.0, True),
        (b'{"expires_at":NaN}', 0.0, True),
        (b'{"expires_at":Infinity}', 0.0, True),
        (b"", 0.0, True),
        (b"[", 0.0, True),
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
def test_row_is_expired_at_its_end_or_when_unreadable(
    row: bytes, expires_at: float, expired: bool
) -> None:
    assert expiry_of(row) == expires_at
    assert is_expired(row, NOW) is expired


def test_expired_rows_are_evicted() -> None:
    rows = {"a": row(NOW), "b": row(NOW + 1), "c": b"\xff"}
    assert keys_to_evict(rows, NOW, UNLIMITED) == ["a", "c"]


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
def test_rows_that_expire_first_are_evicted_first(bytes_max: int, evicted: list[str]) -> None:
    assert keys_to_evict(ROWS, NOW, bytes_max) == evicted


def test_expired_rows_are_evicted_before_others() -> None:
    rows = {**ROWS, "expired": row(NOW, size=1_000)}
    assert keys_to_evict(rows, NOW, weight(*ROWS.values())) == ["expired"]


@given(
    rows=st.dictionaries(
        st.text(max_size=3), st.tuples(st.floats(0, 2_000), st.integers(0, 500)), max_size=8
    ),
    bytes_max=st.integers(0, 3_000),
)
def test_eviction_is_sufficient_and_minimal(
    rows: dict[str, tuple[float, int]], bytes_max: int
) -> None:
    encoded = {key: row(expires_at, size) for key, (expires_at, size) in rows.items()}
    evicted = keys_to_evict(encoded, NOW, bytes_max)
    assert len(set(evicted)) == len(evicted)
    kept = {key: each for key, each in encoded.items() if key not in evicted}
    assert weight(*kept.values()) <= bytes_max
    unexpired = [key for key in evicted if expiry_of(encoded[key]) > NOW]
    if unexpired:
        assert weight(*kept.values(), encoded[unexpired[-1]]) > bytes_max
        assert all(expiry_of(each) >= expiry_of(encoded[unexpired[-1]]) for each in kept.values())


def test_sweep_uses_the_given_expiry() -> None:
    rows = [("a", b"1"), ("b", b"22"), ("c", b"333")]
    swept = sweep(rows, 1.0, weight(b"333"), len)
    assert (swept.expired, swept.excess) == (["a"], ["b"])
    assert (swept.rows, swept.size_bytes) == (3, weight(b"1", b"22", b"333"))
