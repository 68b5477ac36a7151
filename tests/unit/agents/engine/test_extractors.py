"""Extractors by the names that yt-dlp gives them. Those of one class are in `test_extraction`."""

from typing import Any

import pytest
from yt_dlp.utils import UnsupportedError

from agents.engine.extractors import (
    HOPS_MAX,
    ExtractorNamesIE,
    Suitable,
    UnknownExtractorError,
    load_extractor,
    problem_of,
)


class Fake:
    """An extractor of URLs with its name in them, which tells what it is told to."""

    def __init__(self, name: str, *answers: Any) -> None:
        self.name = name
        self.answers = list(answers)
        self.asked: list[str] = []
        self.downloader: object = None

    def ie_key(self) -> str:
        return self.name

    def set_downloader(self, downloader: object) -> None:
        self.downloader = downloader

    def suitable(self, url: str) -> bool:
        return self.name in url

    def extract(self, url: str) -> Any:
        self.asked.append(url)
        return self.answers.pop(0)


VIDEO = {"id": "1", "title": "a clip"}


@pytest.mark.parametrize("name", ["yt-dlp:Streamable", "yt-dlp:HitRecord,Streamable"])
def test_the_real_extractors_are_taken(name: str) -> None:
    made = load_extractor(name)()
    assert made._find("https://streamable.com/moo").__class__.__module__ == (
        "yt_dlp.extractor.streamable"
    )
    assert made.ie_key() == name.partition(":")[2].replace(",", "+")


def test_each_is_made_anew() -> None:
    made = load_extractor("yt-dlp:Streamable")
    assert made()._extractors[0] is not made()._extractors[0]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Streamable", None),
        ("TikTokUser", None),
        ("Streamble", "yt-dlp has no extractor named Streamble; similar ones: Streamable, "),
        ("streamable", "yt-dlp has no extractor named streamable; similar ones: Streamable, "),
        ("StreamableIE", "yt-dlp has no extractor named StreamableIE; similar ones: Streamable, "),
        ("", "yt-dlp has no extractor named "),
        ("Generic", "Generic reads pages of any site, which is never allowed"),
        ("generic", "yt-dlp has no extractor named generic"),
        ("WordpressPlaylistEmbed", "WordpressPlaylistEmbed reads no pages by themselves"),
    ],
)
def test_what_is_wrong_with_a_name(name: str, problem: str | None) -> None:
    found = problem_of(name)
    assert found == problem if found is None else found.startswith(str(problem))
    assert "Generic" not in (found or "").partition("; similar")[2]


@pytest.mark.parametrize("name", ["yt-dlp:Streamble", "yt-dlp:", "yt-dlp:Streamable,Generic"])
def test_a_wrong_name_is_an_error_when_it_is_used_and_not_before(name: str) -> None:
    made = load_extractor(name)
    with pytest.raises(UnknownExtractorError):
        made()


def test_the_first_suitable_one_reads_the_page() -> None:
    one, two, three = Fake("one"), Fake("two", VIDEO), Fake("tw")
    assert Suitable([one, two, three]).extract("https://two.example/1") == VIDEO
    assert (one.asked, three.asked) == ([], [])


def test_all_of_them_ask_through_the_same_downloader() -> None:
    fakes = [Fake("one"), Fake("two")]
    downloader = object()
    Suitable(fakes).set_downloader(downloader)
    assert [fake.downloader for fake in fakes] == [downloader, downloader]


def test_a_page_for_none_of_them_is_unsupported() -> None:
    fake = Fake("one")
    with pytest.raises(UnsupportedError):
        Suitable([fake]).extract("https://other.example/")
    assert fake.asked == []


def leads(url: Any, kind: str = "url", **more: Any) -> dict[str, Any]:
    return {"_type": kind, "url": url, **more}


def test_a_page_that_leads_on_is_followed() -> None:
    embed, page = Fake("embed", leads("https://page.example/1")), Fake("page", VIDEO)
    assert Suitable([embed, page]).extract("https://embed.example/1") == VIDEO
    assert page.asked == ["https://page.example/1"]


def test_what_the_first_page_tells_counts_when_yt_dlp_says_so() -> None:
    told = leads("https://page.example/1", "url_transparent", id="9", title="better", duration=None)
    behind = VIDEO | {"duration": 7}
    made = Suitable([Fake("embed", told), Fake("page", behind)])
    assert made.extract("https://embed.example/1") == {"id": "1", "title": "better", "duration": 7}


@pytest.mark.parametrize(
    "found",
    [
        leads("https://elsewhere.example/1"),
        leads(None),
        leads(7),
        {"_type": "playlist", "entries": []},
        VIDEO,
        None,
        [],
    ],
    ids=["elsewhere", "nowhere", "number", "list", "video", "nothing", "no dictionary"],
)
def test_what_leads_to_none_of_them_is_handed_on(found: Any) -> None:
    assert Suitable([Fake("one", found)]).extract("https://one.example/") == found


def test_circles_end() -> None:
    fake = Fake("one", *[leads("https://one.example/")] * (HOPS_MAX + 2))
    assert Suitable([fake]).extract("https://one.example/")["_type"] == "url"
    assert len(fake.asked) == HOPS_MAX + 1


def test_the_engine_tells_which_names_are_wrong() -> None:
    found = ExtractorNamesIE()._real_extract("names:Streamable,HitRecrd,Generic")
    assert list(found["problems"]) == ["HitRecrd", "Generic"]
