import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.platforms.urls import (
    EXAMPLE_URL,
    MAX_ECHO_CHARACTERS,
    Link,
    parse_link,
    shorten,
)
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import MAX_URL_CHARACTERS

HOST = "www.tiktok.com"

GOOD = {
    "plain": (
        "https://www.tiktok.com/@a/video/1",
        Link(scheme="https", host=HOST, path="/@a/video/1"),
    ),
    "http": ("http://www.tiktok.com/x", Link(scheme="http", host=HOST, path="/x")),
    "capitals": ("HTTPS://WWW.TikTok.COM/X", Link(scheme="https", host=HOST, path="/X")),
    "spaces around": ("  https://www.tiktok.com/x ", Link(scheme="https", host=HOST, path="/x")),
    "line breaks around": (
        "\n\thttps://www.tiktok.com/x\r\n",
        Link(scheme="https", host=HOST, path="/x"),
    ),
    "invisible characters around": (
        "\ufeff\u200bhttps://www.tiktok.com/x\u200e\u00a0",
        Link(scheme="https", host=HOST, path="/x"),
    ),
    "default port": ("https://www.tiktok.com:443/x", Link(scheme="https", host=HOST, path="/x")),
    "default http port": ("http://www.tiktok.com:80/x", Link(scheme="http", host=HOST, path="/x")),
    "query": (
        "https://www.tiktok.com/x?a=1&b",
        Link(scheme="https", host=HOST, path="/x", query="a=1&b"),
    ),
    "fragment": ("https://www.tiktok.com/x#top?no", Link(scheme="https", host=HOST, path="/x")),
    "no path": ("https://www.tiktok.com", Link(scheme="https", host=HOST)),
    "query without path": ("https://www.tiktok.com?a", Link(scheme="https", host=HOST, query="a")),
    "no scheme": ("www.tiktok.com/x", Link(scheme="https", host=HOST, path="/x")),
    "no scheme, capitals": ("WWW.tiktok.com/x", Link(scheme="https", host=HOST, path="/x")),
    "no scheme, colon in the path": (
        "www.tiktok.com/a:b",
        Link(scheme="https", host=HOST, path="/a:b"),
    ),
    "link in the query": (
        "https://www.tiktok.com/x?from=https://a.example/",
        Link(scheme="https", host=HOST, path="/x", query="from=https://a.example/"),
    ),
    "unicode in the path": ("https://www.tiktok.com/é", Link(scheme="https", host=HOST, path="/é")),
    "dash in a label": (
        "https://a--b.example/",
        Link(scheme="https", host="a--b.example", path="/"),
    ),
}

REASONS = {
    "number": (1, "not a text but int"),
    "empty": ("", "empty"),
    "control": ("https://a.example/\x00", "invisible or control"),
    "bidi": ("https://a.example/\u202ex", "invisible or control"),
    "inner space": ("https://a.example/ b", "a space inside"),
    "backslash": ("https:\\\\a.example", "backslash"),
    "quote": ('https://a.example/"', "quotation mark"),
    "dash": ("-https://a.example", "starts with a dash"),
    "scheme-relative": ("//a.example", "scheme is missing"),
    "leading junk": ("(https://a.example", "does not start with https"),
    "trailing junk": ("https://a.example/x)", "ends with a character"),
    "unknown scheme": ("ftp://a.example", "neither https nor http"),
    "no scheme": ("a.example/x", "scheme is missing"),
    "no host": ("https:///x", "names no host"),
    "only a port": ("https://:443/x", "names no host"),
    "credentials": ("https://u:p@a.example", "user name or password"),
    "unicode host": ("https://ä.example", "beyond ASCII"),
    "encoded host": ("https://a%2eexample", "percent-encoded"),
    "brackets": ("https://[::1]/", "IP address"),
    "address": ("https://127.0.0.1/", "IP address"),
    "hexadecimal": ("https://0x7f.1", "IP address"),
    "port": ("https://a.example:8080", "names a port"),
    "trailing dot": ("https://a.example./", "ends with a dot"),
    "single label": ("https://intranet/", "not a public name"),
    "localhost": ("https://x.localhost/", "not a public name"),
    "long host": (f"https://{'a.' * 130}example", "too long"),
    "bad label": ("https://a_b.example", "misspelt"),
    "second link": ("https://a.example/https://b.example", "second link"),
}


@pytest.mark.parametrize(("text", "link"), GOOD.values(), ids=GOOD.keys())
def test_link_is_parsed(text: str, link: Link) -> None:
    assert parse_link(text, known_hosts=(HOST,)) == link


@pytest.mark.parametrize(("text", "reason"), REASONS.values(), ids=REASONS.keys())
def test_unusable_link_is_rejected_with_reason_and_example(text: object, reason: str) -> None:
    with pytest.raises(ClipmillError, match="link is invalid") as caught:
        parse_link(text, known_hosts=(HOST,))
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert reason in caught.value.details["reason"]
    assert reason in caught.value.message
    assert EXAMPLE_URL in caught.value.message
    assert caught.value.details["field"] == "url"


def test_missing_scheme_is_rejected_without_a_known_host() -> None:
    with pytest.raises(ClipmillError, match="scheme is missing"):
        parse_link("www.tiktok.com/x")


def test_link_longer_than_the_maximum_is_rejected() -> None:
    longest = "https://a.example/".ljust(MAX_URL_CHARACTERS, "x")
    assert parse_link(longest).path.endswith("x")
    with pytest.raises(ClipmillError, match="2049 characters; the maximum is 2048") as caught:
        parse_link(longest + "x")
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize(
    "text",
    [
        "https://name:hunter2@a.example/x",
        "https://name:hunter2@a.example:99/x",
        "ftp://name:hunter2@a.example/x",
        "https://name:hunter2\u202e@a.example/x",
        "https://name:hun/hunter2@a.example/x",
        "name:hunter2@a.example",
        "https://a.example/ x?token=hunter2",
        "https://a.example/ x#hunter2",
        f"https://name:hunter2{'x' * 300}@a.example",
    ],
)
def test_errors_contain_no_secrets(text: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_link(text)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(caught.value.details.values())


SHORTENED = {
    "short": ("https://a.example/x", "https://a.example/x"),
    "query": ("https://a.example/x?y#z", "https://a.example/x"),
    "user page": ("https://a.example/@name/video/1", "https://a.example/@name/video/1"),
    "credentials": ("https://u:p@a.example/@name", "...@a.example/@name"),
    "controls": ("a\x00\nb\u202e", "a\\x00\\nb\\u202e"),
    "long": ("x" * 201, "x" * 197 + "..."),
    "just fits": ("x" * 200, "x" * 200),
    "long by escapes": ("\u202e" * 100, ("\\u202e" * 100)[:197] + "..."),
}


@pytest.mark.parametrize(("text", "shown"), SHORTENED.values(), ids=SHORTENED.keys())
def test_link_is_shortened_for_display(text: str, shown: str) -> None:
    assert shorten(text) == shown


@given(st.text(max_size=3_000))
def test_shortened_links_are_printable_and_bounded(text: str) -> None:
    shown = shorten(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= MAX_ECHO_CHARACTERS


def parse_or_error(text: object) -> Link | ClipmillError:
    try:
        return parse_link(text, known_hosts=(HOST,))
    except ClipmillError as error:
        return error


@given(st.one_of(st.text(max_size=100), st.integers(), st.none(), st.binary(max_size=20)))
@example("https://www.tiktok.com:443/@a?b#c")
@example("www.tiktok.com")
def test_any_value_is_parsed_stably_or_a_clipmill_error(text: object) -> None:
    found = parse_or_error(text)
    if isinstance(found, Link):
        assert parse_link(found.url) == found
    else:
        assert found.code is ErrorCode.REQUEST_INVALID
        assert len(found.message) < MAX_ECHO_CHARACTERS + 300


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_host_of_a_parsed_link_is_a_public_ascii_name(host: str) -> None:
    found = parse_or_error(f"https://{host}/x")
    if isinstance(found, Link):
        assert found.host.isascii()
        assert "." in found.host
        assert not found.host.rpartition(".")[2].isdecimal()
        assert host.lower().startswith(found.host)
