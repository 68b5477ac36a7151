import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.storage.disk import OTHER, TABLE, find_row, map_file_errors
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
def test_disk_error_names_the_directory_and_the_remedy(
    number: int, code: ErrorCode, advice: str
) -> None:
    with pytest.raises(ClipmillError) as caught, map_file_errors(DIRECTORY):
        raise OSError(number, "the reason")
    assert caught.value.code is code
    assert "/srv/clipmill: the reason" in caught.value.message
    assert advice in caught.value.message
    assert caught.value.details == {"errno": errno.errorcode[number]}


def test_error_without_an_errno_is_a_storage_error() -> None:
    with pytest.raises(ClipmillError) as caught, map_file_errors(DIRECTORY):
        raise OSError
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), map_file_errors(DIRECTORY):
        raise KeyError


REAL: dict[str, list[Callable[[Path], object]]] = {
    "full": [lambda _: Path("/dev/full").write_text("x")],
    # Not even root can create a folder there.
    "denied": [lambda _: Path("/sys/clipmill").mkdir()],
    "other": [
        lambda folder: (folder / ("x" * 300)).write_text("x"),
        lambda folder: (folder / "file" / "below").mkdir(parents=True),
        lambda folder: folder.write_text("x"),
        lambda folder: (folder / "none" / "x").write_text("x"),
    ],
}
"""Operations that raise real system errors, by the row that matches."""


def test_every_row_has_real_errors() -> None:
    assert [row.name for row in (*TABLE, OTHER)] == list(REAL)


@pytest.mark.parametrize(
    ("row", "operation"),
    [(row, operation) for row, operations in REAL.items() for operation in operations],
)
def test_real_error_matches_its_row(
    tmp_path: Path, row: str, operation: Callable[[Path], object]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
        operation(tmp_path)
    assert find_row(caught.value).name == row


def test_errno_is_in_one_row_only() -> None:
    numbers = [number for row in TABLE for number in row.errnos]
    assert len(set(numbers)) == len(numbers)
