import re
from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.cookies import YoutubeDLCookieJar

from agents.accounts.cookie_formats import HEADER, HTTP_ONLY, is_writable
from agents.accounts.cookie_text import (
    COOKIES_MAX,
    LINES_MAX,
    NotACookieFileError,
    decode_text,
    format_issues,
    has_cookie_for,
    key_of,
    parse_text,
    unexpired,
    with_renewals,
)
from agents.accounts.cookie_text import read_cookies as read_text
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, text_of

FIELDS = (".tiktok.com", "TRUE", "/", "TRUE", "4000000000", "sessionid", SECRET)
LINE = "\t".join(FIELDS) + "\n"
SPACED = "    ".join(FIELDS) + "\n"
EMPTY = cookie("foo", "")
NOW = 2_000_000_000.0


def read_cookies(text: str) -> tuple[Cookie, ...]:
    return read_text(text).cookies


def issues_of(text: str) -> str:
    return format_issues(parse_text(text)) or ""


READ = {
    "a cookie": (LINE, cookie()),
    "comments": (f"# Netscape HTTP Cookie File\n\n{LINE}# the end", cookie()),
    "HttpOnly": (f"{HTTP_ONLY}{LINE}", cookie()),
    "Windows line ends": (LINE.replace("\n", "\r\n"), cookie()),
    "no final line feed": (LINE.strip(), cookie()),
    "an empty value": (
        "tiktok.com\tFALSE\t\tFALSE\t0\tempty\t\n",
        Cookie(name="empty", value="", domain="tiktok.com", secure=False),
    ),
    "other characters": (
        "tiktok.com\tFALSE\t/a\tfalse\t0\tn\té v\u2028w\n",
        Cookie(name="n", value="é v\u2028w", domain="tiktok.com", path="/a", secure=False),
    ),
    "a domain without its dot": (LINE.removeprefix("."), cookie()),
    "a fraction of a second": (
        LINE.replace("4000000000", "4000000000.5"),
        cookie(expires_at=4e9 + 0.5),
    ),
    "no expiry": (LINE.replace("4000000000", ""), cookie(expires_at=None)),
    "minus one": (LINE.replace("4000000000", "-1"), cookie(expires_at=None)),
    "a word as expiry": (LINE.replace("4000000000", "Session"), cookie(expires_at=None)),
    "infinity": (LINE.replace("4000000000", "inf"), cookie(expires_at=None)),
}


@pytest.mark.parametrize(("text", "expected"), READ.values(), ids=READ)
def test_cookie_is_read(text: str, expected: Cookie) -> None:
    assert read_cookies(text) == (expected,)


# Files as written by add-ons, editors and other tools

ODD = {
    "eight columns": (f"{LINE.strip()}\t40\n", "line 1 has 8 fields, not 7"),
    "more columns": (f"{LINE.strip()}\tlax\tx\t\n", "line 1 has 10 fields, not 7"),
    "leading spaces": (f"   {LINE}", ""),
    "a leading tab": (f"\t{LINE}", ""),
    "leading spaces before the prefix": (f"  {HTTP_ONLY}{LINE}", ""),
    "the prefix in lower case": (f"#httponly_{LINE}", ""),
    "spaces for tabs": (SPACED, "line 1 has spaces in place of tabs"),
    "one space for tabs": (" ".join(FIELDS), "line 1 has spaces in place of tabs"),
    "some spaces for tabs": (
        LINE.replace("\tTRUE", "  TRUE"),
        "line 1 has spaces in place of tabs",
    ),
    "escaped tabs": (LINE.replace("\t", r"\t"), r"line 1 has \t in place of tabs"),
    "escaped tabs, eight": (LINE.replace("\t", r"\t").strip() + r"\t40", "line 1 has 8 fields"),
    "milliseconds": (LINE.replace("4000000000", "4000000000000"), ""),
    "spaces beside tabs": (LINE.replace("\t", " \t "), ""),
    "trailing spaces": (f"{LINE.strip()}   \n", ""),
    "a byte order mark in the middle": (f"# one\n\ufeff{LINE}", ""),
    "a pasted space": (f"\u00a0\u200b{LINE}", ""),
    "old Mac": (f"# one\r{LINE.strip()}\r", ""),
    "duplicated Windows line ends": (LINE.replace("\n", "\r\r\n"), ""),
    "a leading header": (f"# HTTP Cookie File\nsessionid={SECRET}\n{LINE}", "line 2 has 1 fields"),
    "a title row": (
        f"domain\tflag\tpath\tsecure\texpiry\tname\tvalue\n{LINE}",
        "line 1 has a domain",
    ),
    "a control character": (
        LINE.replace("sessionid", "x\x01") + LINE,
        "line 1 has a domain or a char",
    ),
    "no UTF-8": (LINE.replace("sessionid", "\ufffd") + LINE, "line 1 has a domain or a character"),
    "fewer fields": (f".tiktok.com\tTRUE\t/\t{SECRET}\n{LINE}", "line 1 has 4 fields, not 7"),
    "a missing column": (LINE.replace("/\t", "", 1) + LINE, "line 1 has 6 fields, not 7"),
    "markup": (f"<b>{SECRET}</b>\n{LINE}", "left out: line 1 has 1 fields"),
    "a bracket": (f"[{SECRET}]\n{LINE}", "left out: line 1 has 1 fields"),
}


@pytest.mark.parametrize(("text", "issue"), ODD.values(), ids=ODD)
def test_cookies_are_read_and_malformed_lines_are_reported(text: str, issue: str) -> None:
    assert read_cookies(text) == (cookie(),)
    assert issue in issues_of(text)
    assert bool(issue) is bool(issues_of(text))
    assert SECRET not in issues_of(text)


@pytest.mark.parametrize(
    "line",
    [
        ".tiktok.com\tTRUE\t/\tTRUE\t4000000000\tfoo",
        ".tiktok.com TRUE / TRUE 4000000000 foo",
        f"{HTTP_ONLY}.tiktok.com\tTRUE\t/\tTRUE\t4000000000\tfoo\r",
    ],
)
def test_empty_value_without_its_tab_is_read(line: str) -> None:
    assert read_cookies(LINE + line) == (cookie(), EMPTY)


def test_value_with_spaces_is_read_from_space_separated_lines() -> None:
    assert read_cookies(SPACED.replace(SECRET, "a b  c")) == (cookie(value="a b  c"),)


def test_many_malformed_lines_are_summarized() -> None:
    text = "x\n" * 3 + LINE + "x\n" + f"{LINE.strip()}\t1\n" * 2
    assert issues_of(text) == (
        "left out: line 1-3, 5 has 1 fields, not 7; accepted: line 6-7 has 8 fields, not 7"
    )
    scattered = "".join(f"x\n{LINE}" for _ in range(99))
    assert issues_of(scattered).count(",") == 11
    assert "…" in issues_of(scattered)
    each_differs = LINE + "".join("x\t" * number + "\n" for number in range(20, 60))
    assert len(issues_of(each_differs)) < 600


NOT_READ = {
    "nothing": ("", "it has no cookie"),
    "comments": (f"{HEADER}\n\n# {SECRET}\n", "it has no cookie"),
    "a header": (f"sessionid={SECRET}", "line 1 has 1 fields, not 7"),
    "a whole header": (f"Cookie: a={SECRET}; b={SECRET}", "line 1 has 1 fields, not 7"),
    "truncated JSON": (f'[{{"name": "sessionid", "value": "{SECRET}"', "begins as JSON"),
    "deep JSON": ("[" * 100_000, "begins as JSON"),
    "JSON without a domain": (f'{{"sessionid": "{SECRET}"}}', "entry 1 has no name"),
    "an empty list": ("[]", "it has no cookie"),
    "prose": (f"the TRUE cookie of FALSE prophets is {SECRET}", "line 1 has 1 fields"),
    "too many lines": ("\n" * (LINES_MAX + 1), f"more than {LINES_MAX} lines"),
    "too many entries": (f"[{'0,' * LINES_MAX}0]", f"more than {LINES_MAX} lines"),
}


@pytest.mark.parametrize(("text", "reason"), NOT_READ.values(), ids=NOT_READ)
def test_file_without_cookies_is_an_error_that_hides_the_text(text: str, reason: str) -> None:
    with pytest.raises(NotACookieFileError, match=re.escape(reason)) as caught:
        read_cookies(text)
    assert SECRET not in str(caught.value)


DECODED = {
    "plain": LINE.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + LINE.encode(),
    "trailing padding": LINE.encode() + b"\0" * 4_000,
    "leading padding": b"\0" * 8 + LINE.encode(),
    "padding in between": LINE.encode().replace(b"\t", b"\t\0"),
    "UTF-16 of Windows": LINE.encode("utf-16"),
    "big-endian UTF-16": b"\xfe\xff" + LINE.encode("utf-16-be"),
    "UTF-16 without a byte order mark": LINE.encode("utf-16-le"),
    "a comment in Latin 1": "# für mich\n".encode("latin-1") + LINE.encode(),
    "a line in Latin 1": LINE.replace("sessionid", "ü").encode("latin-1") + LINE.encode(),
}


@pytest.mark.parametrize("data", DECODED.values(), ids=DECODED)
def test_cookies_are_read_from_other_encodings(data: bytes) -> None:
    assert read_cookies(decode_text(data)) == (cookie(),)


@pytest.mark.parametrize(
    ("domain", "hosts", "expected"),
    [
        (".tiktok.com", ("www.tiktok.com",), True),
        ("www.tiktok.com", ("tiktok.com", "www.tiktok.com"), True),
        (".TikTok.com", ("tiktok.com",), True),
        (".youtube.com", ("www.tiktok.com",), False),
        (".nottiktok.com", ("tiktok.com",), False),
        (".com", ("www.tiktok.com",), False),
        ("m.tiktok.com", ("www.tiktok.com",), False),
        (".tiktok.com", (), False),
    ],
)
def test_cookies_match_the_hosts_of_a_platform(
    domain: str, hosts: tuple[str, ...], *, expected: bool
) -> None:
    assert has_cookie_for([Cookie(name="n", value="v", domain=domain)], hosts) is expected


def test_expired_cookies_are_dropped() -> None:
    expired, valid, session = (
        cookie("a", expires_at=NOW),
        cookie("b", expires_at=NOW + 1),
        cookie("c", expires_at=None),
    )
    assert unexpired((expired, valid, session), NOW) == (valid, session)


def changes(*cookies: Cookie) -> dict[tuple[str, str, str], Cookie]:
    return {key_of(each): each for each in cookies}


def test_renewed_cookie_replaces_its_line() -> None:
    before = f"# mine\n{HTTP_ONLY}{LINE}\n# between\n{text_of(cookie('other', 'x'))}"
    after = with_renewals(before, changes(cookie(value="new", expires_at=LATER + 5)), NOW)
    expected = before.replace(SECRET, "new").replace("4000000000", "4000000005", 1)
    assert after == f"{HEADER}\n{expected}"


def test_new_cookies_are_appended_and_expired_ones_removed() -> None:
    before = text_of(cookie("a"), cookie("b", expires_at=NOW - 1))
    after = with_renewals(before, changes(cookie("c"), cookie("d", expires_at=NOW)), NOW)
    assert after == text_of(cookie("a"), cookie("c"))


def test_cookie_expired_by_the_platform_is_removed() -> None:
    before = text_of(cookie("a"), cookie("b"))
    assert with_renewals(before, changes(cookie("b", expires_at=1.0)), NOW) == text_of(cookie("a"))


def test_no_renewals_leave_the_text_unchanged() -> None:
    before = f"# mine\n\n{LINE}"
    assert with_renewals(before, {}, NOW) == before


def test_cookies_of_one_name_are_distinguished_by_path() -> None:
    first = cookie()
    second = Cookie(name="sessionid", value="2", domain=".tiktok.com", path="/p", expires_at=LATER)
    before = text_of(first, second)
    newer = Cookie(name="sessionid", value="3", domain=".tiktok.com", path="/p", expires_at=LATER)
    assert read_cookies(with_renewals(before, changes(newer), NOW)) == (first, newer)


@pytest.mark.parametrize(
    "hostile",
    [
        cookie("tab\tname"),
        cookie(value="line\nfeed"),
        cookie(value="return\rit"),
        cookie(value="nul\0"),
        cookie(value="half \ud800"),
        Cookie(name="n", value="v", domain="#domain"),
        Cookie(name="n", value="v", domain=" "),
        Cookie(name="n", value="v", domain="$.domain"),
        Cookie(name="n", value="v", domain="host"),
        cookie(value=" edges "),
        cookie(value="lost \ufffd"),
    ],
    ids=repr,
)
def test_cookie_that_would_corrupt_the_file_is_not_written(hostile: Cookie) -> None:
    before = text_of(cookie("a"))
    assert with_renewals(before, changes(hostile), NOW) == before


def test_number_of_cookies_is_bounded() -> None:
    many = [cookie(f"n{number}") for number in range(COOKIES_MAX + 9)]
    after = with_renewals(LINE, changes(*many), NOW)
    assert len(read_cookies(after)) == COOKIES_MAX
    again = with_renewals(after, changes(cookie("other"), cookie(value="new")), NOW)
    assert len(read_cookies(again)) == COOKIES_MAX
    assert cookie(value="new") in read_cookies(again)


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd"), max_size=20
).map(lambda text: text.strip(" "))
cookies = st.builds(
    Cookie,
    name=texts,
    value=texts,
    domain=texts.filter(str.strip).map(lambda text: f".{text}"),
    path=texts.map(lambda text: f"/{text}"),
    secure=st.booleans(),
    expires_at=st.none() | st.integers(int(NOW) + 1, 2**36).map(float),
).filter(is_writable)


@given(st.lists(cookies, max_size=8), st.lists(cookies, max_size=8))
def test_written_cookies_are_read_back(before: list[Cookie], renewed: list[Cookie]) -> None:
    text = with_renewals(with_renewals("", changes(*before), NOW), changes(*renewed), NOW)
    found = parse_text(text).cookies
    assert changes(*found) == changes(*before) | changes(*renewed)
    assert len(found) == len(changes(*found))


@given(st.text() | st.text("\t\n\r #[{TRUEFALS0.a\ufeff"))
def test_any_text_is_read_and_renewed(text: str) -> None:
    found = parse_text(text).cookies
    assert len(found) <= len(text)
    after = with_renewals(text, changes(cookie()), NOW)
    kept = changes(*unexpired(found, NOW)) | changes(cookie())
    assert changes(*parse_text(after).cookies) == kept
    assert format_issues(parse_text(after)) is None


# Compatibility with other tools

WRITTEN = {
    **{name: text for name, (text, _) in ODD.items()},
    "no header": LINE,
    "flags that differ": LINE.replace("TRUE", "FALSE", 1) + LINE.removeprefix("."),
    "an expiry that is a word": LINE.replace("4000000000", "Session"),
    "JSON": '[{"domain": ".tiktok.com", "name": "a", "value": "b", "httpOnly": true}, 7]',
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("kind", [MozillaCookieJar, YoutubeDLCookieJar])
def test_written_file_is_read_by_other_tools(
    tmp_path: Path, text: str, kind: type[MozillaCookieJar], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    new = cookie("new", "n")
    path.write_text(with_renewals(text, changes(new), NOW), encoding="utf-8")
    jar = kind(path)
    jar.load(ignore_discard=True, ignore_expires=True)
    ours = (*parse_text(text).cookies, new)
    assert {(each.domain, each.name, each.value) for each in jar} == {
        (each.domain, each.name, each.value) for each in ours
    }
    # yt-dlp prints skipped lines in its warnings.
    assert capsys.readouterr().err == ""
