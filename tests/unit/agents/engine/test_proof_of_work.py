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


def started(seconds: float = 60.0) -> Deadline:
    deadline = Deadline()
    deadline.start(seconds)
    return deadline


WAYS = {"python": search_in_python, "fastest": SEARCH}
"""Where there is no C compiler both are the same."""

MOST = NUMBER_MAX if IS_NATIVE else 5_000
"""The largest number that is looked for in many tests: a second and more in Python."""


@pytest.fixture(params=WAYS)
def search(request: pytest.FixtureRequest) -> Search:
    return WAYS[request.param]


# From block boundaries of SHA-256 and of the lanes, and where a number gets one more digit.
LENGTHS = (0, 1, 3, 32, 47, 48, 54, 55, 56, 57, 60, 63, 64, 65, 127, 128, 200, SEED_BYTES_MAX)
EARLY = (0, 1, 9, 10, 15, 16, 99, 100, 105, 106, 999, 1_000, SLICE_TRIES + 1)
LATE = (9_999, 10_000, 99_999, 100_000, 999_999, NUMBER_MAX)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("number", EARLY)
def test_the_number_is_found(search: Search, length: int, number: int) -> None:
    seed = (bytes(range(256)) * 16)[:length]
    assert search(seed, digest_of(number, seed), started()) == number


@pytest.mark.parametrize("number", LATE)
def test_large_numbers_are_found(number: int) -> None:
    assert SEARCH(SEED, digest_of(number), started()) == number


def test_both_ways_agree_on_a_large_number() -> None:
    assert search_in_python(SEED, digest_of(123_456), started()) == 123_456


@given(st.binary(max_size=200), st.integers(0, MOST))
@settings(max_examples=50, deadline=None)
def test_any_seed_and_number(seed: bytes, number: int) -> None:
    assert SEARCH(seed, digest_of(number, seed), started()) == number


# What the lanes behind the last number of a length hash, and what comes after the last number.
@pytest.mark.parametrize("said", ["00", "05", "", "000", "1000001", "-1", "1.0", "01000000"])
def test_what_is_no_number_is_not_found(said: str) -> None:
    assert SEARCH(SEED, digest_of(said), started()) is None


def test_without_a_library_there_is_no_native_search(tmp_path: Path) -> None:
    assert load_native(tmp_path / "missing.so") is None
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    assert load_native(broken) is None


def test_the_library_is_there_where_there_is_a_compiler() -> None:
    assert (shutil.which(os.environ.get("CC") or "cc") is not None) == IS_NATIVE


def test_the_time_of_each_challenge_is_kept() -> None:
    solver = ProofOfWork(started())
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
def test_what_cannot_be_solved_is_said(seed: bytes, digest: bytes, counted: int) -> None:
    solver = ProofOfWork(started())
    with pytest.raises(ExtractorError, match="Unable to solve JS challenge"):
        solver.solve(seed, digest)
    assert len(solver.seconds) == counted


def test_the_loop_of_python_ends_at_the_deadline() -> None:
    solver = ProofOfWork(started(0.02), search_in_python)
    with pytest.raises(TransportError, match="deadline of the job"):
        solver.solve(SEED, bytes(32))
    assert len(solver.seconds) == 1


def test_a_thread_that_searches_lets_the_others_wait_no_longer_than_their_jobs() -> None:
    busy, done = threading.Event(), threading.Event()

    def search(*_: object) -> int:
        busy.set()
        done.wait(10)
        return 7

    thread = threading.Thread(target=ProofOfWork(started(), search).solve, args=(SEED, bytes(32)))
    thread.start()
    try:
        assert busy.wait(10)
        with pytest.raises(TransportError, match="deadline of the job"):
            ProofOfWork(started(0.02)).solve(SEED, digest_of(1))
    finally:
        done.set()
        thread.join()
    assert ProofOfWork(started()).solve(SEED, digest_of(1)) == 1


def test_one_thread_searches_at_a_time() -> None:
    under_way, most = [0], [0]

    def search(*_: object) -> int:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        threading.Event().wait(0.005)
        under_way[0] -= 1
        return 1

    threads = [
        threading.Thread(target=ProofOfWork(started(), search).solve, args=(SEED, bytes(32)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_search_that_fails_gives_the_turn_back() -> None:
    def search(*_: object) -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        ProofOfWork(started(), search).solve(SEED, bytes(32))
    assert ProofOfWork(started()).solve(SEED, digest_of(2)) == 2
