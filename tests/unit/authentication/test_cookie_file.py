from pathlib import Path

import pytest

from agents.authentication.cookie_file import BYTES_MAX, Content, Stamp, load
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.authentication.sessions import SECRET, cookie, write

NOW = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "main.txt")


def read(path: Path, known: Stamp | None = None) -> Content:
    found = load(path, known)
    assert found is not None
    return found


def test_a_file_is_read_when_it_has_changed(path: Path) -> None:
    first = read(path)
    assert first.cookies == (cookie(),)
    assert load(path, first.stamp) is None
    write(path, cookie(value="anothr"))
    assert [each.value for each in read(path, first.stamp).cookies] == ["anothr"]


def test_a_file_with_a_mark_of_its_encoding_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path).cookies == (cookie(),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "there is no cookie in it"),
        (b"# only a remark", "there is no cookie in it"),
        (f"sessionid={SECRET}".encode(), "line 1 has 1 fields, not 7"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (BYTES_MAX + 1), f"it has more than {BYTES_MAX} bytes"),
    ],
)
def test_what_is_no_cookie_file_is_a_matter_of_settings(
    path: Path, data: bytes, reason: str
) -> None:
    path.write_bytes(data)
    with pytest.raises(ClipmillError, match=reason) as caught:
        load(path)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert str(path) in caught.value.message
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_not_to_be_read_is_a_matter_of_settings(path: Path) -> None:
    path.unlink()
    with pytest.raises(ClipmillError, match="No such file"):
        load(path)
    path.mkdir()
    with pytest.raises(ClipmillError, match="Is a directory"):
        load(path)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o644, True), (0o602, True)]
)
def test_others_that_may_read_a_file_are_noticed(path: Path, mode: int, exposed: bool) -> None:
    path.chmod(mode)
    assert read(path).exposed is exposed


def test_a_content_does_not_show_its_cookies(path: Path) -> None:
    assert SECRET not in repr(read(path))
    assert "1 cookies" in repr(read(path))
