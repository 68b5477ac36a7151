from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.authentication.netscape import (
    COOKIES_MAX,
    HTTP_ONLY,
    NotACookieFileError,
    key_of,
    read_cookies,
    renewed,
    unexpired,
)
from schemas.video import Cookie
from tests.unit.authentication.sessions import LATER, SECRET, cookie, text_of

LINE = f".tiktok.com\tTRUE\t/\tTRUE\t4000000000\tsessionid\t{SECRET}\n"
NOW = 2_000_000_000.0

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


NOT_READ = {
    "a header": (LINE + f"sessionid={SECRET}", "line 2 has 1 fields, not 7"),
    "JSON": (f'{{"sessionid": "{SECRET}"}}', "line 1 has 1 fields"),
    "a tab too many": (LINE.strip() + f"\t{SECRET}", "line 1 has 8 fields"),
}


@pytest.mark.parametrize(("text", "reason"), NOT_READ.values(), ids=NOT_READ)
def test_what_is_not_of_the_format_is_told_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(NotACookieFileError, match=reason) as caught:
        read_cookies(text)
    assert SECRET not in str(caught.value)


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
    assert after == before.replace(SECRET, "new").replace("4000000000", "4000000005", 1)


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


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
cookies = st.builds(
    Cookie,
    name=texts,
    value=texts,
    domain=texts.filter(str.strip).map(lambda text: f".{text}"),
    path=texts.map(lambda text: f"/{text}"),
    secure=st.booleans(),
    expires_at=st.none() | st.integers(int(NOW) + 1, 2**40).map(float),
)


@given(st.lists(cookies, max_size=8), st.lists(cookies, max_size=8))
def test_what_is_written_is_read(before: list[Cookie], anew: list[Cookie]) -> None:
    text = renewed(renewed("", changes(*before), NOW), changes(*anew), NOW)
    found = read_cookies(text)
    assert changes(*found) == changes(*before) | changes(*anew)
    assert len(found) == len(changes(*found))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read_cookies(text)
    except NotACookieFileError:
        return
    assert len(found) <= text.count("\n") + 1


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# Netscape HTTP Cookie File\n" + text_of(cookie(), cookie("b", "c")))
    jar = MozillaCookieJar(path)
    jar.load()
    assert {(each.name, each.value, each.expires) for each in jar} == {
        ("sessionid", SECRET, LATER),
        ("b", "c", LATER),
    }
