import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.row_expiry import ROW_OVERHEAD_BYTES, end_of, is_over, no_longer_kept, sweep
from schemas.codec import encode

NOW = 1_000.0
MUCH = 10**9


def row(end: float, size: int = 0) -> bytes:
    return encode({"expires_at": end, "more": "x" * size})


def weight(*rows: bytes) -> int:
    return sum(len(each) + ROW_OVERHEAD_BYTES for each in rows)


@pytest.mark.parametrize(
    ("row", "end", "over"),
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
        "to come",
        "now",
        "no number",
        "beyond all numbers",
        "with too many digits",
        "none",
        "never",
        "empty",
        "broken",
    ],
)
def test_a_row_is_over_at_its_end_or_unreadable(row: bytes, end: float, over: bool) -> None:
    assert end_of(row) == end
    assert is_over(row, NOW) is over


def test_what_is_over_is_not_kept() -> None:
    rows = {"a": row(NOW), "b": row(NOW + 1), "c": b"\xff"}
    assert no_longer_kept(rows, NOW, MUCH) == ["a", "c"]


ROWS = {"late": row(NOW + 9), "soon": row(NOW + 1), "next": row(NOW + 5)}


@pytest.mark.parametrize(
    ("room", "gone"),
    [
        (weight(*ROWS.values()), []),
        (weight(*ROWS.values()) - 1, ["soon"]),
        (weight(ROWS["late"], ROWS["next"]), ["soon"]),
        (weight(ROWS["late"], ROWS["next"]) - 1, ["soon", "next"]),
        (0, ["soon", "next", "late"]),
    ],
)
def test_of_too_many_those_go_that_end_first(room: int, gone: list[str]) -> None:
    assert no_longer_kept(ROWS, NOW, room) == gone


def test_what_is_over_makes_room() -> None:
    rows = {**ROWS, "over": row(NOW, size=1_000)}
    assert no_longer_kept(rows, NOW, weight(*ROWS.values())) == ["over"]


@given(
    rows=st.dictionaries(
        st.text(max_size=3), st.tuples(st.floats(0, 2_000), st.integers(0, 500)), max_size=8
    ),
    room=st.integers(0, 3_000),
)
def test_what_is_kept_fits_and_nothing_more_had_to_go(
    rows: dict[str, tuple[float, int]], room: int
) -> None:
    made = {key: row(end, size) for key, (end, size) in rows.items()}
    gone = no_longer_kept(made, NOW, room)
    assert len(set(gone)) == len(gone)
    kept = {key: each for key, each in made.items() if key not in gone}
    assert weight(*kept.values()) <= room
    alive = [key for key in gone if end_of(made[key]) > NOW]
    if alive:
        assert weight(*kept.values(), made[alive[-1]]) > room
        assert all(end_of(each) >= end_of(made[alive[-1]]) for each in kept.values())


def test_rows_of_another_form_end_as_their_reader_says() -> None:
    rows = [("a", b"1"), ("b", b"22"), ("c", b"333")]
    swept = sweep(rows, 1.0, weight(b"333"), len)
    assert (swept.over, swept.surplus) == (["a"], ["b"])
    assert (swept.rows, swept.size_bytes) == (3, weight(b"1", b"22", b"333"))
