import errno
from pathlib import Path

import pytest

from agents.storage.errors import map_file_errors
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
