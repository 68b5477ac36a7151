import logging
from importlib.metadata import EntryPoint

import msgspec
import pytest

from agents.platforms.interface import Capabilities, Platform, ShortLink, Target
from agents.platforms.registry import GROUP, PARSED_CHARACTERS, Platforms
from agents.platforms.tiktok.handler import CAPABILITIES, TikTok
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS, Hostile


class Other(TikTok):
    def get_capabilities(self) -> Capabilities:
        return msgspec.structs.replace(
            CAPABILITIES, name="other", page_hosts=("other.example", "www.other.example")
        )


class SameHost(TikTok):
    def get_capabilities(self) -> Capabilities:
        return msgspec.structs.replace(CAPABILITIES, name="rival")


class FailsToStart(TikTok):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def entry_point_of(kind: type) -> EntryPoint:
    return entry_point(kind.__name__.lower(), f"{__name__}:{kind.__name__}")


@pytest.fixture
def both() -> Platforms:
    return Platforms([TikTok(), Other()])


class Site:
    """A site as configured in the settings."""

    hosts: tuple[str, ...] = ("mine.example",)
    short_hosts: tuple[str, ...] = ("mi.ne",)
    extractors: tuple[str, ...] = ("Mine",)
    media_hosts: tuple[str, ...] = (".mine.example",)


class SiteWithTikTokHost(Site):
    hosts = ("vm.tiktok.com",)


def test_installed_platforms_are_loaded() -> None:
    platforms = Platforms.load()
    assert set(platforms.names) >= {"tiktok"}
    assert not platforms.broken
    assert isinstance(platforms.by_name("tiktok"), TikTok)


def test_configured_sites_are_added_to_the_installed_platforms() -> None:
    platforms = Platforms.load({"mine": Site(), "second": SecondSite()})
    assert set(platforms.names) == {*Platforms.load().names, "mine", "second"}
    assert platforms.for_url("https://mi.ne/x").get_capabilities().name == "mine"
    assert isinstance(platforms.by_name("tiktok"), TikTok)


class SecondSite(Site):
    hosts = ("second.example",)
    short_hosts = ()


@pytest.mark.parametrize(
    ("sites", "claim"),
    [
        ({"tiktok": Site()}, r"the name tiktok \(tiktok and tiktok\)"),
        ({"mine": SiteWithTikTokHost()}, r"the host vm\.tiktok\.com \(mine and tiktok\)"),
        (
            {"mine": Site(), "other": Site()},
            r"the host mi\.ne \(mine and other\), mine\.example \(mine and other\)",
        ),
    ],
    ids=["name of a plug-in", "host of a plug-in", "host of another site"],
)
def test_site_that_claims_a_taken_name_or_host_is_an_error(
    sites: dict[str, Site], claim: str
) -> None:
    with pytest.raises(ClipmillError, match=f"{claim}; .*remove it from the settings") as caught:
        Platforms.load(sites)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_broken_plug_in_keeps_configured_sites() -> None:
    platforms = Platforms.from_entry_points([entry_point("bad", "nowhere:X")], {"mine": Site()})
    assert platforms.names == ("mine",)
    assert platforms.broken.keys() == {"bad"}


def test_extractors_to_preload_are_listed() -> None:
    platforms = Platforms.from_entry_points([], {"mine": Site(), "second": SecondSite()})
    assert platforms.extractors == ("yt-dlp:Mine",)
    assert Platforms([]).extractors == ()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://www.tiktok.com/@a/video/1", "tiktok"),
        ("https://vm.tiktok.com/ZMabc/", "tiktok"),
        ("m.tiktok.com/v/1.html", "tiktok"),
        ("https://www.tiktok.com/foryou", "tiktok"),
        ("https://other.example/1", "other"),
        ("WWW.Other.Example/1", "other"),
    ],
)
def test_platform_is_found_by_url(both: Platforms, url: str, name: str) -> None:
    assert both.for_url(url).get_capabilities().name == name
    assert both.for_url(url) is both.by_name(name)


class Counting(TikTok):
    def __init__(self) -> None:
        self.parsed = 0

    def parse_url(self, url: str) -> Target | ShortLink:
        self.parsed += 1
        return super().parse_url(url)


@pytest.mark.parametrize(("padding", "parsed"), [("", 1), ("x" * PARSED_CHARACTERS, 3)])
def test_short_link_that_is_requested_again_is_parsed_once(padding: str, parsed: int) -> None:
    platform = Counting()
    platforms = Platforms([platform])
    url = f"https://www.tiktok.com/@u/video/7000000000000000001?{padding}"
    assert len({id(platforms.find(url)[0]) for _ in range(3)}) == 1
    assert platform.parsed == parsed


def test_link_that_is_refused_is_parsed_again(both: Platforms) -> None:
    for _ in range(2):
        with pytest.raises(ClipmillError):
            both.find("https://unknown.example/1")


def test_unknown_host_is_rejected_with_the_available_platforms(both: Platforms) -> None:
    with pytest.raises(ClipmillError, match="supported: other, tiktok") as caught:
        both.for_url("https://example.com/1?token=hunter2")
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert "example.com" in caught.value.details["reason"]
    assert "hunter2" not in caught.value.message


def refused_by(platforms: Platforms, url: object) -> ErrorCode | None:
    try:
        platform = platforms.for_url(url)
        assert isinstance(url, str)
        platform.parse_url(url)
    except ClipmillError as error:
        return error.code
    return None


@pytest.mark.parametrize("hostile", HOSTILE_URLS, ids=lambda hostile: hostile.name)
def test_hostile_links_are_rejected_with_their_code(both: Platforms, hostile: Hostile) -> None:
    assert refused_by(both, hostile.url) is hostile.code


def test_hostile_links_are_many_and_uniquely_named() -> None:
    assert len({hostile.name for hostile in HOSTILE_URLS}) == len(HOSTILE_URLS) >= 120


def test_unknown_name_is_rejected_with_the_available_platforms(both: Platforms) -> None:
    with pytest.raises(ClipmillError, match=r"'vimeo' is not available .*other, tiktok") as caught:
        both.by_name("vimeo")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


BROKEN = {
    "module is missing": (entry_point("bad", "clipmill_no_such_module:X"), "ModuleNotFoundError"),
    "class is missing": (entry_point("bad", f"{__name__}:Missing"), "AttributeError"),
    "constructor fails": (entry_point("bad", f"{__name__}:FailsToStart"), "no licence"),
    "not a platform": (entry_point("bad", "builtins:int"), "get_capabilities"),
    "not a class": (entry_point("bad", f"{__name__}:BROKEN"), "not callable"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_plug_in_is_reported_and_others_are_loaded(
    broken: EntryPoint, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        platforms = Platforms.from_entry_points([broken, entry_point_of(Other)])
    assert platforms.names == ("other",)
    assert reason in platforms.broken["bad"]
    assert broken.value in platforms.broken["bad"]
    assert "platform plug-in bad" in caplog.text
    with pytest.raises(ClipmillError, match=reason):
        platforms.by_name("bad")
    with pytest.raises(ClipmillError, match=r"bad \(broken\)"):
        platforms.for_url("https://example.com/")


@pytest.mark.parametrize(
    ("platforms", "claim"),
    [
        ([TikTok(), TikTok()], "the name tiktok"),
        ([TikTok(), SameHost()], r"the host .*www\.tiktok\.com"),
    ],
    ids=["name", "host"],
)
def test_name_or_host_claimed_twice_is_an_error(platforms: list[Platform], claim: str) -> None:
    with pytest.raises(ClipmillError, match=f"Two platforms claim {claim}") as caught:
        Platforms(platforms)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_url_is_rejected_without_any_platform() -> None:
    with pytest.raises(ClipmillError, match="supported: none"):
        Platforms([]).for_url("https://www.tiktok.com/@a/video/1")


# Media hosts added by the settings


class MediaHostsOnly:
    """Media hosts only, as configured in the settings."""

    hosts: tuple[str, ...] = ()
    short_hosts: tuple[str, ...] = ()
    extractors: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = (".cdn.example.net",)


def test_media_hosts_are_added_to_an_installed_platform() -> None:
    added = Platforms.load({"tiktok": MediaHostsOnly()}).by_name("tiktok").get_capabilities()
    assert added.media_hosts == (*CAPABILITIES.media_hosts, ".cdn.example.net")
    assert added.page_hosts == CAPABILITIES.page_hosts
    other = Platforms.load({"streamable": MediaHostsOnly()}).by_name("streamable")
    assert ".cdn.example.net" in other.get_capabilities().media_hosts


def test_media_hosts_for_an_unknown_platform_are_an_error() -> None:
    with pytest.raises(ClipmillError, match=r"platforms\.unknown only adds hosts") as caught:
        Platforms.load({"unknown": MediaHostsOnly()})
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_media_hosts_of_a_broken_platform_are_no_error() -> None:
    platforms = Platforms.from_entry_points(
        [entry_point("bad", "nowhere:X")], {"bad": MediaHostsOnly()}
    )
    assert "bad" in platforms.broken
