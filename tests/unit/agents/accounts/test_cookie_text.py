import re
from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.cookies import YoutubeDLCookieJar

from agents.accounts.cookie_text import (
    COOKIES_MAX,
    LINES_MAX,
    NotACookieFileError,
    decode_text,
    is_for,
    key_of,
    oddities,
    parse_text,
    renewed,
    unexpired,
)
from agents.accounts.cookie_text import read_cookies as read_text
from agents.accounts.netscape import HEADER, HTTP_ONLY, fits
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, text_of

FIELDS = (".tiktok.com", "TRUE", "/", "TRUE", "4000000000", "sessionid", SECRET)
LINE = "\t".join(FIELDS) + "\n"
SPACED = "    ".join(FIELDS) + "\n"
EMPTY = cookie("foo", "")
NOW = 2_000_000_000.0


def read_cookies(text: str) -> tuple[Cookie, ...]:
    return read_text(text).cookies


def told(text: str) -> str:
    return oddities(parse_text(text)) or ""


READ = {
    "a cookie": (LINE, cookie()),
    "remarks": (f"# Netscape HTTP Cookie File\n\n{LINE}# the end", cookie()),
    "hidden from scripts": (f"{HTTP_ONLY}{LINE}", cookie()),
    "lines of Windows": (LINE.replace("\n", "\r\n"), cookie()),
    "no last line feed": (LINE.strip(), cookie()),
    "an empty value": (
        "tiktok.com\tFALSE\t\tFALSE\t0\tempty\t\n",
        Cookie(name="empty", value="", domain="tiktok.com", secure=False),
    ),
    "other signs": (
        "tiktok.com\tFALSE\t/a\tfalse\t0\tn\té v\u2028w\n",
        Cookie(name="n", value="é v\u2028w", domain="tiktok.com", path="/a", secure=False),
    ),
    "a domain without its dot": (LINE.removeprefix("."), cookie()),
    "a part of a second": (
        LINE.replace("4000000000", "4000000000.5"),
        cookie(expires_at=4e9 + 0.5),
    ),
    "no expiry": (LINE.replace("4000000000", ""), cookie(expires_at=None)),
    "minus one": (LINE.replace("4000000000", "-1"), cookie(expires_at=None)),
    "a word for it": (LINE.replace("4000000000", "Session"), cookie(expires_at=None)),
    "infinity": (LINE.replace("4000000000", "inf"), cookie(expires_at=None)),
}


@pytest.mark.parametrize(("text", "expected"), READ.values(), ids=READ)
def test_a_cookie_is_read(text: str, expected: Cookie) -> None:
    assert read_cookies(text) == (expected,)


# Files as add-ons, editors and other tools write them

ODD = {
    "eight columns": (f"{LINE.strip()}\t40\n", "line 1 has 8 fields, not 7"),
    "more columns": (f"{LINE.strip()}\tlax\tx\t\n", "line 1 has 10 fields, not 7"),
    "spaces in front": (f"   {LINE}", ""),
    "a tab in front": (f"\t{LINE}", ""),
    "spaces in front of the mark": (f"  {HTTP_ONLY}{LINE}", ""),
    "the mark in lower case": (f"#httponly_{LINE}", ""),
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
    "spaces behind": (f"{LINE.strip()}   \n", ""),
    "a mark in the middle": (f"# one\n\ufeff{LINE}", ""),
    "a pasted space": (f"\u00a0\u200b{LINE}", ""),
    "old Mac": (f"# one\r{LINE.strip()}\r", ""),
    "lines of Windows twice": (LINE.replace("\n", "\r\r\n"), ""),
    "a header in front": (f"# HTTP Cookie File\nsessionid={SECRET}\n{LINE}", "line 2 has 1 fields"),
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
    "a lost column": (LINE.replace("/\t", "", 1) + LINE, "line 1 has 6 fields, not 7"),
    "markup": (f"<b>{SECRET}</b>\n{LINE}", "left out: line 1 has 1 fields"),
    "a bracket": (f"[{SECRET}]\n{LINE}", "left out: line 1 has 1 fields"),
}


@pytest.mark.parametrize(("text", "oddity"), ODD.values(), ids=ODD)
def test_what_can_be_read_is_read_and_odd_lines_are_named(text: str, oddity: str) -> None:
    assert read_cookies(text) == (cookie(),)
    assert oddity in told(text)
    assert bool(oddity) is bool(told(text))
    assert SECRET not in told(text)


@pytest.mark.parametrize(
    "line",
    [
        ".tiktok.com\tTRUE\t/\tTRUE\t4000000000\tfoo",
        ".tiktok.com TRUE / TRUE 4000000000 foo",
        f"{HTTP_ONLY}.tiktok.com\tTRUE\t/\tTRUE\t4000000000\tfoo\r",
    ],
)
def test_an_empty_value_may_have_lost_its_tab(line: str) -> None:
    assert read_cookies(LINE + line) == (cookie(), EMPTY)


def test_a_value_with_spaces_is_read_where_tabs_became_spaces() -> None:
    assert read_cookies(SPACED.replace(SECRET, "a b  c")) == (cookie(value="a b  c"),)


def test_many_odd_lines_are_named_in_short() -> None:
    text = "x\n" * 3 + LINE + "x\n" + f"{LINE.strip()}\t1\n" * 2
    assert told(text) == (
        "left out: line 1-3, 5 has 1 fields, not 7; read all the same: line 6-7 has 8 fields, not 7"
    )
    scattered = "".join(f"x\n{LINE}" for _ in range(99))
    assert told(scattered).count(",") == 11
    assert "…" in told(scattered)
    each_differs = LINE + "".join("x\t" * number + "\n" for number in range(20, 60))
    assert len(told(each_differs)) < 600


NOT_READ = {
    "nothing": ("", "there is no cookie in it"),
    "remarks": (f"{HEADER}\n\n# {SECRET}\n", "there is no cookie in it"),
    "a header": (f"sessionid={SECRET}", "line 1 has 1 fields, not 7"),
    "a whole header": (f"Cookie: a={SECRET}; b={SECRET}", "line 1 has 1 fields, not 7"),
    "half of JSON": (f'[{{"name": "sessionid", "value": "{SECRET}"', "begins as JSON"),
    "deep JSON": ("[" * 100_000, "begins as JSON"),
    "JSON without a domain": (f'{{"sessionid": "{SECRET}"}}', "entry 1 has no name"),
    "an empty list": ("[]", "there is no cookie in it"),
    "prose": (f"the TRUE cookie of FALSE prophets is {SECRET}", "line 1 has 1 fields"),
    "too many lines": ("\n" * (LINES_MAX + 1), f"more than {LINES_MAX} lines"),
    "too many entries": (f"[{'0,' * LINES_MAX}0]", f"more than {LINES_MAX} lines"),
}


@pytest.mark.parametrize(("text", "reason"), NOT_READ.values(), ids=NOT_READ)
def test_a_file_without_cookies_is_told_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(NotACookieFileError, match=re.escape(reason)) as caught:
        read_cookies(text)
    assert SECRET not in str(caught.value)


DECODED = {
    "plain": LINE.encode(),
    "a mark": b"\xef\xbb\xbf" + LINE.encode(),
    "padding behind": LINE.encode() + b"\0" * 4_000,
    "padding in front": b"\0" * 8 + LINE.encode(),
    "padding between": LINE.encode().replace(b"\t", b"\t\0"),
    "UTF-16 of Windows": LINE.encode("utf-16"),
    "the other UTF-16": b"\xfe\xff" + LINE.encode("utf-16-be"),
    "UTF-16 without a mark": LINE.encode("utf-16-le"),
    "a remark in Latin 1": "# für mich\n".encode("latin-1") + LINE.encode(),
    "a line in Latin 1": LINE.replace("sessionid", "ü").encode("latin-1") + LINE.encode(),
}


@pytest.mark.parametrize("data", DECODED.values(), ids=DECODED)
def test_bytes_that_are_no_text_do_not_hide_the_cookies(data: bytes) -> None:
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
def test_whose_cookies_they_are(domain: str, hosts: tuple[str, ...], *, expected: bool) -> None:
    assert is_for([Cookie(name="n", value="v", domain=domain)], hosts) is expected


def test_what_is_over_is_left_out() -> None:
    over, left, session = (
        cookie("a", expires_at=NOW),
        cookie("b", expires_at=NOW + 1),
        cookie("c", expires_at=None),
    )
    assert unexpired((over, left, session), NOW) == (left, session)


def changes(*cookies: Cookie) -> dict[tuple[str, str, str], Cookie]:
    return {key_of(each): each for each in cookies}


def test_a_cookie_is_renewed_in_its_place() -> None:
    before = f"# mine\n{HTTP_ONLY}{LINE}\n# between\n{text_of(cookie('other', 'x'))}"
    after = renewed(before, changes(cookie(value="new", expires_at=LATER + 5)), NOW)
    expected = before.replace(SECRET, "new").replace("4000000000", "4000000005", 1)
    assert after == f"{HEADER}\n{expected}"


def test_new_cookies_come_last_and_those_that_are_over_go() -> None:
    before = text_of(cookie("a"), cookie("b", expires_at=NOW - 1))
    after = renewed(before, changes(cookie("c"), cookie("d", expires_at=NOW)), NOW)
    assert after == text_of(cookie("a"), cookie("c"))


def test_a_cookie_that_the_platform_ends_goes() -> None:
    before = text_of(cookie("a"), cookie("b"))
    assert renewed(before, changes(cookie("b", expires_at=1.0)), NOW) == text_of(cookie("a"))


def test_nothing_set_anew_leaves_the_file() -> None:
    before = f"# mine\n\n{LINE}"
    assert renewed(before, {}, NOW) == before


def test_cookies_of_one_name_are_told_apart() -> None:
    first = cookie()
    second = Cookie(name="sessionid", value="2", domain=".tiktok.com", path="/p", expires_at=LATER)
    before = text_of(first, second)
    newer = Cookie(name="sessionid", value="3", domain=".tiktok.com", path="/p", expires_at=LATER)
    assert read_cookies(renewed(before, changes(newer), NOW)) == (first, newer)


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
def test_a_cookie_that_would_break_the_file_is_not_written(hostile: Cookie) -> None:
    before = text_of(cookie("a"))
    assert renewed(before, changes(hostile), NOW) == before


def test_new_cookies_end_somewhere() -> None:
    many = [cookie(f"n{number}") for number in range(COOKIES_MAX + 9)]
    after = renewed(LINE, changes(*many), NOW)
    assert len(read_cookies(after)) == COOKIES_MAX
    again = renewed(after, changes(cookie("other"), cookie(value="new")), NOW)
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
).filter(fits)


@given(st.lists(cookies, max_size=8), st.lists(cookies, max_size=8))
def test_what_is_written_is_read(before: list[Cookie], anew: list[Cookie]) -> None:
    text = renewed(renewed("", changes(*before), NOW), changes(*anew), NOW)
    found = parse_text(text).cookies
    assert changes(*found) == changes(*before) | changes(*anew)
    assert len(found) == len(changes(*found))


@given(st.text() | st.text("\t\n\r #[{TRUEFALS0.a\ufeff"))
def test_any_text_is_read_and_renewed(text: str) -> None:
    found = parse_text(text).cookies
    assert len(found) <= len(text)
    after = renewed(text, changes(cookie()), NOW)
    kept = changes(*unexpired(found, NOW)) | changes(cookie())
    assert changes(*parse_text(after).cookies) == kept
    assert oddities(parse_text(after)) is None


# Other tools read what is written

WRITTEN = {
    **{name: text for name, (text, _) in ODD.items()},
    "no header": LINE,
    "flags that differ": LINE.replace("TRUE", "FALSE", 1) + LINE.removeprefix("."),
    "an expiry that is a word": LINE.replace("4000000000", "Session"),
    "JSON": '[{"domain": ".tiktok.com", "name": "a", "value": "b", "httpOnly": true}, 7]',
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("kind", [MozillaCookieJar, YoutubeDLCookieJar])
def test_other_tools_read_what_is_written(
    tmp_path: Path, text: str, kind: type[MozillaCookieJar], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.txt"
    new = cookie("new", "n")
    path.write_text(renewed(text, changes(new), NOW), encoding="utf-8")
    jar = kind(path)
    jar.load(ignore_discard=True, ignore_expires=True)
    ours = (*parse_text(text).cookies, new)
    assert {(each.domain, each.name, each.value) for each in jar} == {
        (each.domain, each.name, each.value) for each in ours
    }
    # yt-dlp warns of what it skips, with the line.
    assert capsys.readouterr().err == ""
