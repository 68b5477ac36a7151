import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.platforms.interface import ShortLink, Target
from agents.platforms.pasted import LINKS_MAX, find_links
from agents.platforms.registry import Platforms
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError
from schemas.request import MAX_URL_CHARACTERS, strip_invisible
from tests.unit.agents.platforms.link_forms import ID, LINK_FORMS, POST, SHORT

PLATFORMS = Platforms.load()
HOSTS = frozenset(
    host
    for name in PLATFORMS.names
    for host in PLATFORMS.by_name(name).get_capabilities().page_hosts
)

words = st.text(st.characters(codec="utf-8"), max_size=12)
gaps = st.sampled_from([" ", "\n", "\t", "\u00a0", "\u3000", "\u2028", "  ", "\r\n"])
glue = st.one_of(
    st.sampled_from('\u200b\ufeff()<>"[].,:@\\/\u3002\uff0f\uff20\u898be7#&\u0435\u2026'),
    st.sampled_from(["](", "%2F", "?u=", ".."]),
)
links = st.sampled_from(
    [
        POST,
        SHORT,
        "https://www.tiktok.com/@user",
        "https://streamable.com/moo",
        "https://evil.example/@user/video/1",
        "https://www.tiktok.com",
        "www.tiktok.com/@user/video/2",
        "https://evil.example",
        "evil.example/",
        "https://",
        "www.tiktok.com",
    ]
)
pieces = st.one_of(words, gaps, glue, links)
texts = st.lists(pieces, max_size=8).map("".join)


def read(text: str) -> Target | ShortLink | None:
    try:
        return PLATFORMS.find(text)[1]
    except ClipmillError:
        return None


@given(texts)
@example("https://www.tiktok.com\u200b.evil.example/@user/video/1")
@example("https://evil.example\\@www.tiktok.com/@user/video/1")
def test_found_link_is_part_of_the_text(text: str) -> None:
    for link in find_links(text, HOSTS):
        assert link in text


@given(texts)
def test_no_link_is_found_inside_another_one(text: str) -> None:
    """Text from the host of a link to the next white space never becomes a link."""
    for word in text.split():
        first = re.search(r"https?://", word, re.IGNORECASE)
        if first and not re.search(r"[^A-Za-z0-9./:@?=&#%\\-]", word):
            starts = [word.index(link) for link in find_links(word, HOSTS)]
            assert all(start == first.start() for start in starts)


@given(texts)
def test_host_of_the_target_is_part_of_the_text(text: str) -> None:
    found = read(text)
    if found is None:
        return
    assert urlsplit(found.url).hostname in HOSTS
    links = [strip_invisible(text), *find_links(text, HOSTS)]
    hosts = {_host(link) for link in links} & HOSTS
    for host in hosts:
        assert re.search(rf"{re.escape(host)}(?![A-Za-z0-9.-])", text, re.IGNORECASE)
    assert hosts


def _host(link: str) -> str:
    try:
        return parse_link(link, known_hosts=HOSTS).host
    except ClipmillError:
        return ""


ids = st.integers(1, 2**64 - 1).map(str)


@given(words, gaps, ids, gaps, words)
def test_post_between_white_space_is_read(
    before: str, gap: str, number: str, other_gap: str, after: str
) -> None:
    link = f"https://www.tiktok.com/@user/video/{number}"
    text = f"{before}{gap}{link}{other_gap}{after}"
    if re.match(r"-\S", text) or "http" in before.lower():
        return
    found = read(text)
    assert found is not None
    assert found.url == link


@given(st.text(max_size=200))
def test_any_text_is_read_or_rejected(text: str) -> None:
    found = read(text)
    assert found is None or urlsplit(found.url).hostname in HOSTS


@given(st.sampled_from([row.text for row in LINK_FORMS]), st.integers(0, 99), words)
def test_text_inserted_into_a_form_leads_to_no_other_host(
    form: str, place: int, inserted: str
) -> None:
    text = form[:place] + inserted + form[place:]
    assert all(link in text for link in find_links(text, HOSTS))
    found = read(text)
    assert found is None or urlsplit(found.url).hostname in HOSTS


@given(st.sampled_from([row.text for row in LINK_FORMS]), gaps, gaps)
def test_surrounding_white_space_is_ignored(form: str, before: str, after: str) -> None:
    assert read(f"{before}{form}{after}") == read(form)


@pytest.mark.parametrize(
    "text",
    [
        "https://" * 256,
        "https://a " * 200,
        "(" * 2_000 + POST,
        "www.tiktok.com" * 140,
        "a" * 2_000 + "/",
        "\u200b" * 2_000 + "x",
        f"{POST}" + "\u200b" * 1_900 + "x",
        "&a" * 1_000,
        f"{POST}" + "&a" * 980,
        f"{POST}" + "%26" * 650,
        "https://www.tiktok.com/" + "%40" * 650,
        "a." * 1_000 + "/",
        "[" + "](https://x/" * 180,
    ],
)
def test_pathological_text_yields_a_bounded_number_of_links(text: str) -> None:
    text = text[:MAX_URL_CHARACTERS]
    assert len(list(find_links(text, HOSTS))) <= LINKS_MAX
    read(text)


def test_ids_are_never_truncated() -> None:
    for place in range(1, len(ID)):
        for mark in ("\u200b", "\u00ad", "\u2060", "\ufeff"):
            text = f"see {POST[: -len(ID)]}{ID[:place]}{mark}{ID[place:]} now"
            assert read(text) is None
