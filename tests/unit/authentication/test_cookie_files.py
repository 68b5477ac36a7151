import os
from pathlib import Path

import pytest

from agents.authentication.cookie_files import BYTES_MAX, CookieFiles
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie

SECRET = "s3cret"
LINE = f".tiktok.com\tTRUE\t/\tTRUE\t2000000000\tsessionid\t{SECRET}\n"
COOKIE = Cookie(name="sessionid", value=SECRET, domain=".tiktok.com")


def made(path: Path, text: str = LINE) -> CookieFiles:
    path.write_text(text, encoding="utf-8")
    return CookieFiles({"tiktok": path})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiktok.txt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, COOKIE),
        (f"# Netscape HTTP Cookie File\n\n{LINE}# the end", COOKIE),
        (f"#HttpOnly_{LINE}", COOKIE),
        (LINE.replace("\n", "\r\n"), COOKIE),
        (
            "tiktok.com\tFALSE\t\tFALSE\t0\tempty\t\n",
            Cookie(name="empty", value="", domain="tiktok.com", secure=False),
        ),
        (
            "tiktok.com\tFALSE\t/a\tfalse\t0\tn\té v\n",
            Cookie(name="n", value="é v", domain="tiktok.com", path="/a", secure=False),
        ),
    ],
)
def test_cookies_are_read(path: Path, text: str, expected: Cookie) -> None:
    assert made(path, text).read("tiktok") == (expected,)


def test_a_platform_without_a_file_has_no_cookies(path: Path) -> None:
    assert made(path).read("other") == ()


def test_a_file_that_has_changed_is_read_again(path: Path) -> None:
    files = made(path)
    first = files.read("tiktok")
    assert files.read("tiktok") is first
    path.write_text(LINE.replace(SECRET, "anothr"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert [each.value for each in files.read("tiktok")] == ["anothr"]
    path.write_text(LINE * 2, encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert len(files.read("tiktok")) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no cookie in it"),
        ("# only a remark", "there is no cookie in it"),
        (LINE + f"sessionid={SECRET}", "line 2 has 1 fields, not 7"),
        (f'{{"sessionid": "{SECRET}"}}', "line 1 has 1 fields"),
        (LINE.strip() + f"\t{SECRET}", "line 1 has 8 fields"),
        ("x" * (BYTES_MAX + 1), f"it has {BYTES_MAX + 1} bytes"),
    ],
)
def test_what_is_no_cookie_file_is_a_matter_of_settings(path: Path, text: str, reason: str) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        made(path, text).read("tiktok")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert str(path) in caught.value.message
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_cannot_be_read_is_a_matter_of_settings(path: Path) -> None:
    with pytest.raises(ClipmillError, match="No such file"):
        CookieFiles({"tiktok": path}).read("tiktok")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ClipmillError, match="not UTF-8"):
        CookieFiles({"tiktok": path}).read("tiktok")
    path.unlink()
    path.mkdir()
    with pytest.raises(ClipmillError):
        CookieFiles({"tiktok": path}).read("tiktok")
