import re

import pytest

from agents.platforms.interface import ShortLink
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError
from schemas.request import MAX_URL_CHARACTERS
from tests.unit.agents.platforms.link_forms import ID, LINK_FORMS, POST, SHORT, WWW, Row


class Site:
    """A site as configured in the settings."""

    hosts = ("mine.example",)
    short_hosts = ("mi.ne",)
    extractors = ("Mine",)
    media_hosts = (".mine.example",)


PLATFORMS = Platforms.load({"mine": Site()})


def target_of(text: str) -> str:
    _, found = PLATFORMS.find(text)
    return f"short:{found.url}" if isinstance(found, ShortLink) else found.key


@pytest.mark.parametrize("row", LINK_FORMS, ids=lambda row: ascii(row.text)[:80])
def test_every_form_is_accepted_or_rejected_with_its_reason(row: Row) -> None:
    if row.is_accepted:
        assert target_of(row.text) == row.expected
        return
    with pytest.raises(ClipmillError, match=re.escape(row.reason)) as caught:
        target_of(row.text)
    assert caught.value.code == row.expected
    assert row.reason in caught.value.details["reason"]
    assert len(caught.value.message) < 600


def test_forms_are_many_and_unique() -> None:
    assert len({row.text for row in LINK_FORMS}) == len(LINK_FORMS) >= 300
    assert sum(row.is_accepted for row in LINK_FORMS) >= 150
    assert sum(not row.is_accepted for row in LINK_FORMS) >= 100


SEVERAL = {
    "a post before a listing": (f"{WWW}/@user {POST}", f"tiktok:{ID}"),
    "the first of two posts": (f"{POST} {WWW}/video/1", f"tiktok:{ID}"),
    "the first of two listings": (f"{WWW}/@user {WWW}/@other", "tiktok:profile/user"),
    "a short link before a post": (f"{WWW}/@user {SHORT} {POST}", f"short:{SHORT}"),
    "a post behind a refused link": (f"{WWW}/live {POST}", f"tiktok:{ID}"),
    "the tenth link": (f"{'https://example.com/ ' * 9}{POST}", f"tiktok:{ID}"),
}


@pytest.mark.parametrize(("text", "expected"), SEVERAL.values(), ids=SEVERAL.keys())
def test_one_of_several_links_is_used(text: str, expected: str) -> None:
    assert target_of(text) == expected


def test_number_of_examined_links_is_bounded() -> None:
    with pytest.raises(ClipmillError, match="no platform has the host"):
        target_of(f"{'https://example.com/ ' * 10}{POST}")


def test_text_may_be_as_long_as_a_url() -> None:
    words = ("word " * 500)[: MAX_URL_CHARACTERS - len(POST) - 1]
    assert target_of(f"{words} {POST}") == f"tiktok:{ID}"
    with pytest.raises(ClipmillError, match=r"request\.too_large"):
        target_of(f"{' ' * MAX_URL_CHARACTERS}{POST}")


@pytest.mark.parametrize("text", [None, 1, True, [POST], {"url": POST}, b"x"])
def test_value_that_is_no_text_is_rejected(text: object) -> None:
    with pytest.raises(ClipmillError, match="it is not a text but"):
        PLATFORMS.find(text)
