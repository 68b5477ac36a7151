import re

import pytest

from agents.platforms.interface import ShortLink
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError
from schemas.request import MAX_URL_CHARACTERS
from tests.unit.agents.platforms.link_forms import ID, LINK_FORMS, POST, SHORT, WWW, Row


class Site:
    """A site as the settings describe it."""

    hosts = ("mine.example",)
    short_hosts = ("mi.ne",)
    extractors = ("Mine",)
    media_hosts = (".mine.example",)


PLATFORMS = Platforms.load({"mine": Site()})


def meaning(text: str) -> str:
    _, found = PLATFORMS.find(text)
    return f"short:{found.url}" if isinstance(found, ShortLink) else found.key


@pytest.mark.parametrize("row", LINK_FORMS, ids=lambda row: ascii(row.text)[:80])
def test_every_form_is_taken_as_its_subject_or_refused_with_its_reason(row: Row) -> None:
    if row.is_taken:
        assert meaning(row.text) == row.means
        return
    with pytest.raises(ClipmillError, match=re.escape(row.reason)) as caught:
        meaning(row.text)
    assert caught.value.code == row.means
    assert row.reason in caught.value.details["reason"]
    assert len(caught.value.message) < 600


def test_there_are_many_forms_each_of_them_once() -> None:
    assert len({row.text for row in LINK_FORMS}) == len(LINK_FORMS) >= 300
    assert sum(row.is_taken for row in LINK_FORMS) >= 150
    assert sum(not row.is_taken for row in LINK_FORMS) >= 100


SEVERAL = {
    "a post before a listing": (f"{WWW}/@user {POST}", f"tiktok:{ID}"),
    "the first of two posts": (f"{POST} {WWW}/video/1", f"tiktok:{ID}"),
    "the first of two listings": (f"{WWW}/@user {WWW}/@other", "tiktok:profile/user"),
    "a short link, wherever it leads": (f"{WWW}/@user {SHORT} {POST}", f"short:{SHORT}"),
    "a post behind a refused link": (f"{WWW}/live {POST}", f"tiktok:{ID}"),
    "the tenth link": (f"{'https://example.com/ ' * 9}{POST}", f"tiktok:{ID}"),
}


@pytest.mark.parametrize(("text", "means"), SEVERAL.values(), ids=SEVERAL.keys())
def test_of_several_links_one_counts(text: str, means: str) -> None:
    assert meaning(text) == means


def test_no_more_links_are_looked_at_than_share_sheets_have() -> None:
    with pytest.raises(ClipmillError, match="no platform is responsible"):
        meaning(f"{'https://example.com/ ' * 10}{POST}")


def test_a_text_may_be_as_long_as_a_link() -> None:
    words = ("word " * 500)[: MAX_URL_CHARACTERS - len(POST) - 1]
    assert meaning(f"{words} {POST}") == f"tiktok:{ID}"
    with pytest.raises(ClipmillError, match=r"request\.too_large"):
        meaning(f"{' ' * MAX_URL_CHARACTERS}{POST}")


@pytest.mark.parametrize("text", [None, 1, True, [POST], {"url": POST}, b"x"])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(ClipmillError, match="it is not a text but"):
        PLATFORMS.find(text)
