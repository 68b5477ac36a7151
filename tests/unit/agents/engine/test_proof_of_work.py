import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yt_dlp.networking.exceptions import TransportError
from yt_dlp.utils import ExtractorError

from agents.engine.proof_of_work import (
    IS_NATIVE,
    NUMBER_MAX,
    SEARCH,
    SEED_BYTES_MAX,
    SLICE_TRIES,
    ProofOfWork,
    Search,
    load_native,
    search_in_python,
)
from agents.engine.request_bounds import Deadline

SEED = hashlib.sha256(b"seed").digest()


def digest_of(number: object, seed: bytes = SEED) -> bytes:
    return hashlib.sha256(seed + str(number).encode()).digest()


def running_deadline(seconds: float = 60.0) -> Deadline:
    deadline = Deadline()
    deadline.start(seconds)
    return deadline


SEARCHES = {"python": search_in_python, "fastest": SEARCH}
"""Without a C compiler both are the same."""

LARGEST = NUMBER_MAX if IS_NATIVE else 5_000
"""Largest number searched for in many tests; in Python NUMBER_MAX takes a second or more."""


@pytest.fixture(params=SEARCHES)
def search(request: pytest.FixtureRequest) -> Search:
    return SEARCHES[request.param]


# At block boundaries of SHA-256 and of the lanes, and where a number gains a digit.
LENGTHS = (0, 1, 3, 32, 47, 48, 54, 55, 56, 57, 60, 63, 64, 65, 127, 128, 200, SEED_BYTES_MAX)
EARLY = (0, 1, 9, 10, 15, 16, 99, 100, 105, 106, 999, 1_000, SLICE_TRIES + 1)
LATE = (9_999, 10_000, 99_999, 100_000, 999_999, NUMBER_MAX)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("number", EARLY)
def test_number_is_found(search: Search, length: int, number: int) -> None:
    seed = (bytes(range(256)) * 16)[:length]
    assert search(seed, digest_of(number, seed), running_deadline()) == number


@pytest.mark.parametrize("number", LATE)
def test_large_numbers_are_found(number: int) -> None:
    assert SEARCH(SEED, digest_of(number), running_deadline()) == number


def test_python_search_finds_a_large_number() -> None:
    assert search_in_python(SEED, digest_of(123_456), running_deadline()) == 123_456


@given(st.binary(max_size=200), st.integers(0, LARGEST))
@settings(max_examples=50, deadline=None)
def test_any_seed_and_number_is_solved(seed: bytes, number: int) -> None:
    assert SEARCH(seed, digest_of(number, seed), running_deadline()) == number


# What the lanes past the last number of a length hash, and the successor of the last number.
@pytest.mark.parametrize("text", ["00", "05", "", "000", "1000001", "-1", "1.0", "01000000"])
def test_text_that_is_no_number_is_not_found(text: str) -> None:
    assert SEARCH(SEED, digest_of(text), running_deadline()) is None


def test_native_search_is_unavailable_without_a_library(tmp_path: Path) -> None:
    assert load_native(tmp_path / "missing.so") is None
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert load_native(broken) is None


def test_native_search_is_built_where_there_is_a_compiler() -> None:
    assert (shutil.which(os.environ.get("CC") or "cc") is not None) == IS_NATIVE


def test_time_of_each_challenge_is_recorded() -> None:
    solver = ProofOfWork(running_deadline())
    assert [solver.solve(SEED, digest_of(number)) for number in (3, 5)] == [3, 5]
    assert len(solver.seconds) == 2
    assert all(seconds > 0 for seconds in solver.seconds)


@pytest.mark.parametrize(
    ("seed", "digest", "counted"),
    [
        pytest.param(SEED, bytes(32), 1, id="no number"),
        pytest.param(SEED, bytes(31), 0, id="short digest"),
        pytest.param(SEED, bytes(33), 0, id="long digest"),
        pytest.param(SEED, b"", 0, id="no digest"),
        pytest.param(bytes(SEED_BYTES_MAX + 1), bytes(32), 0, id="long seed"),
    ],
)
def test_unsolvable_challenge_is_an_error(seed: bytes, digest: bytes, counted: int) -> None:
    solver = ProofOfWork(running_deadline())
    with pytest.raises(ExtractorError, match="Unable to solve JS challenge"):
        solver.solve(seed, digest)
    assert len(solver.seconds) == counted


def test_python_search_ends_at_the_deadline() -> None:
    solver = ProofOfWork(running_deadline(0.02), search_in_python)
    with pytest.raises(TransportError, match="deadline of the job"):
        solver.solve(SEED, bytes(32))
    assert len(solver.seconds) == 1


def test_waiting_for_another_search_ends_at_the_deadline() -> None:
    busy, done = threading.Event(), threading.Event()

    def search(*_: object) -> int:
        busy.set()
        done.wait(10)
        return 7

    thread = threading.Thread(
        target=ProofOfWork(running_deadline(), search).solve, args=(SEED, bytes(32))
    )
    thread.start()
    try:
        assert busy.wait(10)
        with pytest.raises(TransportError, match="deadline of the job"):
            ProofOfWork(running_deadline(0.02)).solve(SEED, digest_of(1))
    finally:
        done.set()
        thread.join()
    assert ProofOfWork(running_deadline()).solve(SEED, digest_of(1)) == 1


def test_one_thread_searches_at_a_time() -> None:
    running, most = [0], [0]

    def search(*_: object) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        threading.Event().wait(0.005)
        running[0] -= 1
        return 1

    threads = [
        threading.Thread(
            target=ProofOfWork(running_deadline(), search).solve, args=(SEED, bytes(32))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_failed_search_releases_the_lock() -> None:
    def search(*_: object) -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        ProofOfWork(running_deadline(), search).solve(SEED, bytes(32))
    assert ProofOfWork(running_deadline()).solve(SEED, digest_of(2)) == 2
