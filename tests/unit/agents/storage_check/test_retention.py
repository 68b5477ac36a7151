import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage import PublishedFile
from agents.storage_check.retention import files_to_remove

DAY = 86_400.0


def file(number: int, day: float, size: int = 10) -> PublishedFile:
    return PublishedFile(uri=f"s3://clips/{number}", bytes=size, published_at=day * DAY)


FILES = [file(2, 2), file(0, 0), file(3, 3), file(1, 1)]


@pytest.mark.parametrize(
    ("before", "keep_bytes", "expected"),
    [
        (None, None, []),
        (2 * DAY, None, [0, 1]),
        (0.0, None, []),
        (9 * DAY, None, [0, 1, 2, 3]),
        (None, 40, []),
        (None, 39, [0]),
        (None, 0, [0, 1, 2, 3]),
        (1 * DAY, 20, [0, 1]),
        (3 * DAY, 20, [0, 1, 2]),
    ],
)
def test_oldest_files_are_removed(
    before: float | None, keep_bytes: int | None, expected: list[int]
) -> None:
    found = files_to_remove(FILES, before=before, keep_bytes=keep_bytes)
    assert [each.uri for each in found] == [f"s3://clips/{number}" for number in expected]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100))), st.integers(0, 2_000))
def test_what_remains_fits_and_is_newer_than_what_is_removed(
    drawn: list[tuple[int, int]], keep_bytes: int
) -> None:
    files = [file(number, day, size) for number, (day, size) in enumerate(drawn)]
    removed = files_to_remove(files, before=None, keep_bytes=keep_bytes)
    kept = [each for each in files if each not in removed]
    assert sum(each.bytes for each in kept) <= keep_bytes
    if removed and kept:
        newest = max(each.published_at for each in removed)
        assert newest <= min(each.published_at for each in kept)
    if removed:
        assert sum(each.bytes for each in kept) + removed[-1].bytes > keep_bytes


def test_hundred_thousand_files_are_reduced_to_a_month_and_a_size() -> None:
    rng = random.Random(1)
    files = [file(number, rng.uniform(0, 365), rng.randrange(10**7)) for number in range(100_000)]
    removed = files_to_remove(files, before=335 * DAY, keep_bytes=10**10)
    kept = {each.uri for each in files} - {each.uri for each in removed}
    assert sum(each.bytes for each in files if each.uri in kept) <= 10**10
    assert all(each.published_at >= 335 * DAY for each in files if each.uri in kept)
