"""Extractors by yt-dlp's names; those given as a class path are in `test_extraction`."""

from typing import Any

import pytest
from yt_dlp.utils import UnsupportedError

from agents.engine.extractors import (
    HOPS_MAX,
    ExtractorChain,
    ExtractorNamesIE,
    UnknownExtractorError,
    load_extractor,
    name_problem,
)


class FakeExtractor:
    """An extractor of URLs that contain its name; returns the given results in turn."""

    def __init__(self, name: str, *results: Any) -> None:
        self.name = name
        self.results = list(results)
        self.extracted: list[str] = []
        self.downloader: object = None

    def ie_key(self) -> str:
        return self.name

    def set_downloader(self, downloader: object) -> None:
        self.downloader = downloader

    def suitable(self, url: str) -> bool:
        return self.name in url

    def extract(self, url: str) -> Any:
        self.extracted.append(url)
        return self.results.pop(0)


VIDEO = {"id": "1", "title": "a clip"}


@pytest.mark.parametrize("name", ["yt-dlp:Streamable", "yt-dlp:HitRecord,Streamable"])
def test_chain_uses_the_extractors_of_yt_dlp(name: str) -> None:
    made = load_extractor(name)()
    assert made._find("https://streamable.com/moo").__class__.__module__ == (
        "yt_dlp.extractor.streamable"
    )
    assert made.ie_key() == name.partition(":")[2].replace(",", "+")


def test_each_instance_has_new_extractors() -> None:
    made = load_extractor("yt-dlp:Streamable")
    assert made().extractors[0] is not made().extractors[0]


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
        ("WordpressPlaylistEmbed", "WordpressPlaylistEmbed has no URL pattern"),
    ],
)
def test_name_problem_is_described(name: str, problem: str | None) -> None:
    found = name_problem(name)
    assert found == problem if found is None else found.startswith(str(problem))
    assert "Generic" not in (found or "").partition("; similar")[2]


@pytest.mark.parametrize("name", ["yt-dlp:Streamble", "yt-dlp:", "yt-dlp:Streamable,Generic"])
def test_unknown_name_is_an_error_only_on_instantiation(name: str) -> None:
    made = load_extractor(name)
    with pytest.raises(UnknownExtractorError):
        made()


def test_first_suitable_extractor_is_used() -> None:
    one, two, three = FakeExtractor("one"), FakeExtractor("two", VIDEO), FakeExtractor("tw")
    assert ExtractorChain([one, two, three]).extract("https://two.example/1") == VIDEO
    assert (one.extracted, three.extracted) == ([], [])


def test_all_extractors_share_the_downloader() -> None:
    fakes = [FakeExtractor("one"), FakeExtractor("two")]
    downloader = object()
    ExtractorChain(fakes).set_downloader(downloader)
    assert [fake.downloader for fake in fakes] == [downloader, downloader]


def test_url_without_a_suitable_extractor_is_unsupported() -> None:
    fake = FakeExtractor("one")
    with pytest.raises(UnsupportedError):
        ExtractorChain([fake]).extract("https://other.example/")
    assert fake.extracted == []


def url_result(url: Any, kind: str = "url", **more: Any) -> dict[str, Any]:
    return {"_type": kind, "url": url, **more}


def test_url_result_is_followed() -> None:
    embed, page = (
        FakeExtractor("embed", url_result("https://page.example/1")),
        FakeExtractor("page", VIDEO),
    )
    assert ExtractorChain([embed, page]).extract("https://embed.example/1") == VIDEO
    assert page.extracted == ["https://page.example/1"]


def test_transparent_url_result_overrides_fields_of_its_target() -> None:
    first = url_result(
        "https://page.example/1", "url_transparent", id="9", title="better", duration=None
    )
    behind = VIDEO | {"duration": 7}
    made = ExtractorChain([FakeExtractor("embed", first), FakeExtractor("page", behind)])
    assert made.extract("https://embed.example/1") == {"id": "1", "title": "better", "duration": 7}


@pytest.mark.parametrize(
    "found",
    [
        url_result("https://elsewhere.example/1"),
        url_result(None),
        url_result(7),
        {"_type": "playlist", "entries": []},
        VIDEO,
        None,
        [],
    ],
    ids=["elsewhere", "nowhere", "number", "list", "video", "nothing", "no dictionary"],
)
def test_result_for_no_extractor_of_the_chain_is_returned_unchanged(found: Any) -> None:
    assert ExtractorChain([FakeExtractor("one", found)]).extract("https://one.example/") == found


def test_circular_url_results_stop_at_the_hop_limit() -> None:
    fake = FakeExtractor("one", *[url_result("https://one.example/")] * (HOPS_MAX + 2))
    assert ExtractorChain([fake]).extract("https://one.example/")["_type"] == "url"
    assert len(fake.extracted) == HOPS_MAX + 1


def test_invalid_names_are_reported() -> None:
    found = ExtractorNamesIE()._real_extract("names:Streamable,HitRecrd,Generic")
    assert list(found["problems"]) == ["HitRecrd", "Generic"]
