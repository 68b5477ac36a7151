import base64
import json
from http.cookiejar import CookieJar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.protocol import JobFinished, frame
from agents.engine.results import (
    COOKIE_CHARACTERS_MAX,
    COOKIES_BYTES_MAX,
    COOKIES_MAX,
    DEPTH_MAX,
    EXPIRY_MAX,
    RESULT_BYTES_MAX,
    NotAResultError,
    ResultTooLargeError,
    add_cookies,
    cookies_for,
    to_json,
)
from agents.platforms.tiktok.formats import read_sources
from schemas.codec import encode
from schemas.video import Cookie

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


VALUES: dict[str, tuple[Any, Any]] = {
    "text": ("text", "text"),
    "lone surrogate": ("\ud83d half", "? half"),
    "other scripts": ("größe 🎬", "größe 🎬"),
    "largest integer": (2**63 - 1, 2**63 - 1),
    "larger integer": (2**63, str(2**63)),
    "integer too large to print": (10**5_000, None),
    "fraction": (1.5, 1.5),
    "not a number": (float("nan"), None),
    "infinity": (float("inf"), None),
    "boolean": (True, True),
    "tuple": ((1, 2), [1, 2]),
    "set": ({3}, [3]),
    "object": (object(), None),
    "bytes": (b"bytes", None),
    "generator": ((number for number in (1, 2)), None),
    "private keys": ({"a": {"__private": 1, "_hidden": 2, "b": 3}}, {"a": {"b": 3}}),
    "keys that are no text": ({1: 2}, {"1": 2}),
    "segments of a manifest": ({"fragments": [{"url": "https://x"}] * 9}, {"fragments": True}),
    "no segments": ({"fragments": None}, {"fragments": False}),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_every_value_becomes_json(value: Any, expected: Any) -> None:
    assert json.loads(to_json({"value": value})) == {"value": expected}


def test_result_type_is_kept() -> None:
    assert json.loads(to_json({"_type": "url", "__post_extractor": 1})) == {"_type": "url"}


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON))
def test_any_page_data_becomes_json(result: dict[str, Any]) -> None:
    assert isinstance(json.loads(to_json(result)), dict)


def test_depth_is_bounded() -> None:
    nested: Any = "end"
    for _ in range(10_000):
        nested = {"a": nested}
    assert to_json(nested).count(b"{") == DEPTH_MAX


def test_oversized_result_is_rejected() -> None:
    with pytest.raises(ResultTooLargeError, match=str(RESULT_BYTES_MAX)):
        to_json({"text": "x" * RESULT_BYTES_MAX})


@pytest.mark.parametrize("result", [None, [], "text", 1], ids=repr)
def test_only_a_dictionary_is_a_result(result: Any) -> None:
    with pytest.raises(NotAResultError, match=type(result).__name__):
        to_json(result)


def jar_with(*cookies: Cookie) -> CookieJar:
    jar = CookieJar()
    add_cookies(jar, cookies)
    return jar


@pytest.mark.parametrize(
    ("domain", "belongs"),
    [
        (".tiktok.com", True),
        ("tiktok.com", True),
        ("www.tiktok.com", True),
        (".www.tiktok.com", True),
        ("v16.tiktok.com", False),
        ("nottiktok.com", False),
        ("k.com", False),
        ("elsewhere.example", False),
    ],
)
def test_only_cookies_of_the_site_are_returned(domain: str, belongs: bool) -> None:
    cookie = Cookie(name="a", value="b", domain=domain)
    found = cookies_for("https://www.tiktok.com/@a/video/1", jar_with(cookie))
    assert found == ((cookie,) if belongs else ())


def test_cookies_round_trip_through_the_jar() -> None:
    session = Cookie(name="a", value="b=c", domain=".tiktok.com", path="/x", secure=False)
    lasting = Cookie(name="b", value="d", domain=".tiktok.com", expires_at=2_000_000_000.0)
    found = cookies_for("https://tiktok.com/", jar_with(session, lasting))
    assert set(found) == {session, lasting}


@pytest.mark.parametrize(
    ("second", "expected"),
    [(0.0, 0.0), (1.9, 1.0), (float("inf"), EXPIRY_MAX), (1e300, EXPIRY_MAX), (-5.0, 0.0)],
)
def test_cookie_expiry_is_a_whole_second_within_range(second: float, expected: float) -> None:
    cookie = Cookie(name="a", value="b", domain="a.example", expires_at=second)
    [found] = cookies_for("https://a.example/", jar_with(cookie))
    assert found.expires_at == expected


def test_huge_cookie_expiry_is_clamped() -> None:
    jar = jar_with(Cookie(name="a", value="b", domain="a.example"))
    for cookie in jar:
        cookie.expires = 10**400
    [found] = cookies_for("https://a.example/", jar)
    assert found.expires_at == EXPIRY_MAX


def test_only_a_cookie_without_expiry_is_discarded_with_its_session() -> None:
    domain = "a.example"
    jar = jar_with(
        Cookie(name="session", value="", domain=domain),
        Cookie(name="lasting", value="", domain=domain, expires_at=2_000_000_000.0),
    )
    assert {cookie.name: (cookie.discard, cookie.expires) for cookie in jar} == {
        "session": (True, None),
        "lasting": (False, 2_000_000_000),
    }


def test_cookies_are_bounded_in_number_and_length() -> None:
    many = [Cookie(name=str(number), value="", domain=".a.example") for number in range(200)]
    long = Cookie(name="long", value="x" * (COOKIE_CHARACTERS_MAX + 1), domain=".a.example")
    found = cookies_for("https://a.example/", jar_with(long, *many))
    assert len(found) == COOKIES_MAX
    assert "long" not in {cookie.name for cookie in found}


def test_cookie_length_includes_all_fields() -> None:
    room = COOKIE_CHARACTERS_MAX - len("nv.a.example/p")
    kept = Cookie(name="n" * room + "n", value="v", domain=".a.example", path="/p")
    longer = [
        Cookie(name="n" * room + "nx", value="v", domain=".a.example", path="/p"),
        Cookie(name="n", value="v" * room + "xx", domain=".a.example", path="/p"),
        Cookie(name="n", value="v", domain=".a.example", path="/" + "p" * room + "xx"),
        Cookie(name="n", value="v", domain=f".a{'.a' * room}.example", path="/p"),
    ]
    assert cookies_for("https://a.example/", jar_with(kept)) == (kept,)
    host = f"https://a{'.a' * room}.example/"
    assert cookies_for(host, jar_with(*longer)) == ()


def test_big_cookies_are_bounded_and_leave_room_for_small_ones() -> None:
    big = [Cookie(name=f"{n:04}", value="v" * 3_000, domain=".a.example") for n in range(500)]
    small = Cookie(name="small", value="v", domain=".a.example")
    found = cookies_for("https://a.example/", jar_with(*big, small))
    assert found == (*big[:3], small)


CHARACTERS = st.text(st.characters(max_codepoint=0x2FF), max_size=3_000)


@settings(max_examples=50)
@given(st.lists(st.tuples(CHARACTERS, CHARACTERS), max_size=40))
def test_cookies_of_any_jar_fit_a_frame_and_a_record(pairs: list[tuple[str, str]]) -> None:
    cookies = (Cookie(name=name, value=value, domain=".a.example") for name, value in pairs)
    found = cookies_for("https://a.example/", jar_with(*cookies))
    assert sum(len(encode(each)) for each in found) <= COOKIES_BYTES_MAX
    assert len(frame(JobFinished(number=1, raw=b"{}", cookies=found))) < COOKIES_BYTES_MAX + 1_000


def test_lone_surrogate_in_a_cookie_is_replaced() -> None:
    broken = Cookie(name="a\ud83d", value="\udcff", domain=".a.example", path="/\ud83d")
    [found] = cookies_for("https://a.example/", jar_with(broken))
    assert (found.name, found.value, found.path) == ("a?", "?", "/?")


RECORD_BYTES_MAX = 2_097_152
"""`streams.topics.MESSAGE_BYTES_MAX`, which the engine does not import."""


@pytest.mark.parametrize("character", ["v", '"', "\x01", "\xff"], ids=ascii)
def test_cookies_repeated_by_a_hundred_pictures_fit_a_record(character: str) -> None:
    many = [Cookie(name=f"{n:03}", value=character * 120, domain=".tiktok.com") for n in range(200)]
    cookies = cookies_for("https://www.tiktok.com/@a/video/1", jar_with(*many))
    assert len(encode(cookies)) > 0.9 * COOKIES_BYTES_MAX
    url = f"https://p16.tiktokcdn.com/{'x' * 4_000}"
    images = [{"urls": [f"{url}{n}.jpeg"], "width": 1_080, "height": 1_920} for n in range(100)]
    headers = {"Referer": "https://www.tiktok.com/@a/video/1", "User-Agent": "x" * 200}
    sources = read_sources({"images": images, "http_headers": headers}, cookies)
    assert len(sources) == 100
    # A failing step wraps the record in another one, as base64.
    assert len(base64.b64encode(encode(sources))) < 0.95 * RECORD_BYTES_MAX


def test_url_without_a_host_has_no_cookies() -> None:
    assert cookies_for("test:1", jar_with(Cookie(name="a", value="b", domain="x.example"))) == ()
