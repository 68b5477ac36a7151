import string
from urllib.parse import parse_qsl, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.configured import DIGEST_CHARACTERS, read_page_link
from agents.platforms.urls import Link, parse_link
from agents.storage.names import FileIds, file_name
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

HOSTS = ("mine.example", "www.mine.example", "m.mine.example", "www.other.example")
PAGE = "https://mine.example/clips/7a?b=2&a=1"


def read(url: str) -> VideoRef:
    return read_page_link(parse_link(url), "mine", HOSTS)


@pytest.mark.parametrize(
    "other",
    [
        "http://mine.example/clips/7a?a=1&b=2",
        "https://MINE.example:443/clips/7a?b=2&a=1#t=5",
        "https://www.mine.example/clips/7a?b=2&a=1",
        "https://mine.example/clips/7a/?b=2&a=1",
        "https://mine.example/clips/7a?b=2&utm_source=x&a=1&UTM_Campaign=y&fbclid=z",
        "https://mine.example/clips/7a?b=2&&a=1&utm%5Fsource=x&",
        "https://mine.example/clips/7a?%62=%32&a=1",
    ],
)
def test_equivalent_urls_are_one_video(other: str) -> None:
    assert read(other).key == read(PAGE).key


@pytest.mark.parametrize(
    "other",
    [
        "https://mine.example/clips/7A?b=2&a=1",
        "https://mine.example/clips/7a?b=2",
        "https://mine.example/clips/7a?b=2&a=",
        "https://mine.example/clips?b=2&a=1",
        "https://mine.example//clips/7a?b=2&a=1",
        "https://m.mine.example/clips/7a?b=2&a=1",
        "https://mine.example/clips/7a?b=2&a=1&a=1",
    ],
)
def test_different_pages_are_different_videos(other: str) -> None:
    assert read(other).key != read(PAGE).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("v=%ff", "v=%fe"),
        ("v=%ff", "v=%EF%BF%BD"),
        ("v=%ff", "v=\u00ff"),
        ("a=1&a=2", "a=2&a=1"),
        ("a=1&b=0&a=2", "a=2&b=0&a=1"),
        ("a=b%26c=d", "a=b&c=d"),
        ("a=b%3Dc", "a=bc"),
        ("a%3Db", "a=b"),
        ("a", "a="),
        ("a=%2B", "a=+"),
        ("a=%252B", "a=%2B"),
        ("a=;b", "a=&b"),
    ],
)
def test_different_parameters_are_different_videos(one: str, other: str) -> None:
    page = "https://mine.example/watch?"
    assert read(page + one).key != read(page + other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("v=\u00e4", "v=%C3%A4"),
        ("v=%c3%a4", "v=%C3%A4"),
        ("v=a+b", "v=a%20b"),
        ("a=1&b=0&a=2", "b=0&a=1&a=2"),
    ],
)
def test_equivalent_parameters_are_one_video(one: str, other: str) -> None:
    page = "https://mine.example/watch?"
    assert read(page + one) == read(page + other)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        (PAGE, "https://mine.example/clips/7a?a=1&b=2"),
        ("http://mine.example/a#x", "https://mine.example/a"),
        ("https://mine.example/a?utm_source=x", "https://mine.example/a"),
        ("https://www.mine.example/a/", "https://www.mine.example/a/"),
        ("https://mine.example/ä%20/b", "https://mine.example/%C3%A4%20/b"),
        ("https://mine.example/a?v=%ff&v=%FE", "https://mine.example/a?v=%FF&v=%FE"),
        ("https://mine.example/a?ä=ö", "https://mine.example/a?%C3%A4=%C3%B6"),
        ("https://mine.example/a?12345", "https://mine.example/a?12345"),
        ("https://mine.example/a?x=%25", "https://mine.example/a?x=%25"),
    ],
)
def test_url_is_canonicalized(url: str, canonical: str) -> None:
    assert read(url).url == canonical


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://mine.example/clips/2954362", "2954362-"),
        ("https://mine.example/a-nice_one/", "a-nice_one-"),
        ("https://mine.example/a.b..c%2F", "a-b-c-2F-"),
        ("https://mine.example/watch?v=1", "watch-"),
        ("https://mine.example/---", ""),
        (f"https://mine.example/{'x' * 90}", f"{'x' * 32}-"),
    ],
)
def test_ids_start_with_a_readable_part(url: str, shown: str) -> None:
    found = read(url).id
    assert found[:-DIGEST_CHARACTERS] == shown
    assert set(found[-DIGEST_CHARACTERS:]) <= set(string.hexdigits.lower())


def test_id_is_stable() -> None:
    # It is the key of tables, and the name of folders.
    assert read(PAGE).id == "7a-28ecb4cbbb7a971a2ec3"


@pytest.mark.parametrize("url", ["https://mine.example", "https://mine.example/?a=1"])
def test_home_page_is_rejected(url: str) -> None:
    with pytest.raises(ClipmillError, match="this is the home page") as caught:
        read(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


PATHS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), max_size=40)


@given(PATHS, st.text(st.characters(codec="ascii", exclude_characters="#"), max_size=40))
def test_any_page_has_a_file_name_and_an_ascii_url(path: str, query: str) -> None:
    video = read_page_link(
        Link(scheme="https", host="mine.example", path=f"/x{path}", query=query), "mine", HOSTS
    )
    assert file_name(FileIds("mine", video.id, "0"), "mp4")
    assert video.url.isascii()
    assert urlsplit(video.url).hostname == "mine.example"


@given(PATHS)
def test_canonical_url_is_read_unchanged(path: str) -> None:
    link = Link(scheme="https", host="mine.example", path=f"/x{path}".replace("\\", ""))
    video = read_page_link(link, "mine", HOSTS)
    parts = urlsplit(video.url)
    again = Link(scheme="https", host="mine.example", path=parts.path, query=parts.query)
    assert read_page_link(again, "mine", HOSTS).url == video.url


PARAMETERS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"\xff", b"%", b"&", b"\xc3\xa4"]), st.binary(max_size=2)
    ),
    max_size=4,
)
"""Query parameters as a site reads them: names and values of any bytes."""


def url_of(page: list[tuple[bytes, bytes]]) -> str:
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in page)
    return f"https://mine.example/watch?{query}"


def by_name(page: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """Return the values of each name, in order: the identity of a page."""
    names = {name for name, _ in page}
    return {name: [value for each, value in page if each == name] for name in names}


@given(PARAMETERS, PARAMETERS)
def test_different_pages_have_different_ids(
    one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]
) -> None:
    same_page = by_name(one) == by_name(other)
    assert (read(url_of(one)).id == read(url_of(other)).id) == same_page


@given(PARAMETERS)
def test_canonical_url_keeps_all_parameters(page: list[tuple[bytes, bytes]]) -> None:
    query = urlsplit(read(url_of(page)).url).query
    parameters = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in parameters]
    assert by_name(pairs) == by_name(page)
    assert len(pairs) == len(page)
