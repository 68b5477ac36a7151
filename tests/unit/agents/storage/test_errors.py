import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.storage.errors import OTHER, TABLE, find_row, map_file_errors
from schemas.errors import ClipmillError, ErrorCode

DIRECTORY = Path("/srv/clipmill")


@pytest.mark.parametrize(
    ("number", "code", "advice"),
    [
        (errno.ENOSPC, ErrorCode.SYSTEM_DISK_FULL, "free space"),
        (errno.EDQUOT, ErrorCode.SYSTEM_DISK_FULL, "quota"),
        (errno.EACCES, ErrorCode.SYSTEM_STORAGE, "clipmill's user"),
        (errno.EROFS, ErrorCode.SYSTEM_STORAGE, "clipmill's user"),
        (errno.EIO, ErrorCode.SYSTEM_STORAGE, "check the disk"),
        (errno.EXDEV, ErrorCode.SYSTEM_STORAGE, "check the disk"),
        (errno.EEXIST, ErrorCode.SYSTEM_STORAGE, "check the disk"),
    ],
)
def test_errors_of_the_disk_name_the_directory_and_a_way_out(
    number: int, code: ErrorCode, advice: str
) -> None:
    with pytest.raises(ClipmillError) as caught, map_file_errors(DIRECTORY):
        raise OSError(number, "the reason")
    assert caught.value.code is code
    assert "/srv/clipmill: the reason" in caught.value.message
    assert advice in caught.value.message
    assert caught.value.details == {"errno": errno.errorcode[number]}


def test_an_error_without_a_number_has_a_code_too() -> None:
    with pytest.raises(ClipmillError) as caught, map_file_errors(DIRECTORY):
        raise OSError
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


def test_what_is_no_error_of_the_disk_passes() -> None:
    with pytest.raises(KeyError), map_file_errors(DIRECTORY):
        raise KeyError


REAL: dict[str, list[Callable[[Path], object]]] = {
    "full": [lambda _: Path("/dev/full").write_text("x")],
    # Not even root may make a folder there.
    "denied": [lambda _: Path("/sys/clipmill").mkdir()],
    "other": [
        lambda folder: (folder / ("x" * 300)).write_text("x"),
        lambda folder: (folder / "file" / "below").mkdir(parents=True),
        lambda folder: folder.write_text("x"),
        lambda folder: (folder / "none" / "x").write_text("x"),
    ],
}
"""What the system really raises, by the row that knows it."""


def test_every_row_has_real_errors() -> None:
    assert [row.name for row in (*TABLE, OTHER)] == list(REAL)


@pytest.mark.parametrize(
    ("row", "work"), [(row, work) for row, works in REAL.items() for work in works]
)
def test_real_errors_are_known(tmp_path: Path, row: str, work: Callable[[Path], object]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
        work(tmp_path)
    assert find_row(caught.value).name == row


def test_no_number_is_in_two_rows() -> None:
    numbers = [number for row in TABLE for number in row.numbers]
    assert len(set(numbers)) == len(numbers)
