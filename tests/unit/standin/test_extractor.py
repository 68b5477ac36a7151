"""The stock TikTok extractor of yt-dlp against the stand-in."""

from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking.exceptions import (
    HTTPError,
    IncompleteRead,
    ProxyError,
    SSLError,
    TransportError,
)
from yt_dlp.utils import DownloadError, ExtractorError

from tests.standin import Standin, expected_media, short_code, user_name, video_id
from tests.standin.accounts import posts_from
from tests.unit.standin.clients import extract, list_posts


def page(video: str, user: str = "_") -> str:
    return f"https://www.tiktok.com/@{user}/video/{video}"


def formats_of(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["format_id"]: found for found in info["formats"]}


async def failure(standin: Standin, url: str, **options: Any) -> BaseException:
    """Return the cause of a failed `extract_info`, or the extractor's own error."""
    with pytest.raises(DownloadError) as caught:
        await extract(standin, url, **options)
    context = caught.value.__context__
    assert isinstance(context, ExtractorError)
    cause: BaseException = context.cause or context
    return cause


async def test_regular_video_is_extracted(trusted: Standin) -> None:
    video = video_id(serial=77)
    info = await extract(trusted, page(video))
    found = formats_of(info)

    assert (info["id"], info["duration"], info["ext"]) == (video, 10, "mp4")
    assert info["timestamp"] == int(video) >> 32
    assert info["uploader"].startswith("clip.maker")
    assert {"play", "download", "audio", "bytevc2_720p_260000-0"} < found.keys()
    best = found["h264_1080p_1600000-0"]
    assert (best["width"], best["height"], best["vcodec"]) == (1080, 1920, "h264")
    assert best["filesize"] == expected_media(video, "h264_1080p_1600000-0").size
    assert found["bytevc1_720p_400000-1"]["vcodec"] == "h265"
    assert found["h264_540p_480000-0"]["width"] == 576
    assert found["download"]["format_note"] == "watermarked"


async def test_every_listed_video_format_is_the_expected_file(
    trusted: Standin, tmp_path: Path
) -> None:
    video = video_id(serial=78)
    wanted = "h264_720p_800000-0,bytevc1_720p_400000-1,play,download,audio"
    name = str(tmp_path / "%(format_id)s.bin")
    await extract(trusted, page(video), format=wanted, outtmpl=name)

    for format_id in wanted.split(","):
        content = (tmp_path / f"{format_id}.bin").read_bytes()
        assert len(content) == expected_media(video, format_id).size


async def test_short_link_resolves_to_the_video(trusted: Standin) -> None:
    video = video_id(serial=79)
    info = await extract(trusted, f"https://vm.tiktok.com/{short_code(video)}/")

    assert info["id"] == video
    assert trusted.counters.requests == {"short_head": 1, "page_head": 1, "page": 1}


async def test_challenge_is_solved(trusted: Standin) -> None:
    video = video_id("challenge", param=321)
    info = await extract(trusted, page(video))

    assert info["id"] == video
    assert trusted.counters.of(video) == 2


@pytest.mark.parametrize(
    ("scenario", "formats"),
    [
        pytest.param("watermarked", {"download"}, id="watermarked"),
        pytest.param("photo", {"audio"}, id="photo"),
        pytest.param("photo.mute", set(), id="photo without music"),
        pytest.param("unplayable", {"bytevc2_720p_260000-0", "bytevc2_720p_260000-1"}, id="h266"),
    ],
)
async def test_posts_with_few_formats_are_extracted(
    trusted: Standin, scenario: str, formats: set[str]
) -> None:
    info = await extract(trusted, page(video_id(scenario)), ignore_no_formats_error=True)

    assert formats_of(info).keys() == formats


async def test_landscape_video_has_landscape_formats(trusted: Standin) -> None:
    found = formats_of(await extract(trusted, page(video_id("landscape"))))
    best = found["h264_720p_800000-0"]

    assert (best["width"], best["height"]) == (1280, 720)


async def test_formats_of_a_silent_video_have_no_audio(trusted: Standin) -> None:
    info = await extract(trusted, page(video_id("silent")), format="bv")

    assert {found["acodec"] for found in info["formats"]} == {"none"}


async def test_page_may_state_other_sizes(trusted: Standin) -> None:
    video = video_id("mismatch")
    found = formats_of(await extract(trusted, page(video)))["h264_720p_800000-0"]

    assert found["filesize"] == 2 * expected_media(video, "h264_720p_800000").size


@pytest.mark.parametrize(
    ("name", "count", "found", "lists"),
    [
        pytest.param("anna", 100, 25, 2, id="all"),
        pytest.param("anna", 15, 15, 1, id="one page"),
        pytest.param("sc_profile_4000", 40, 40, 3, id="some of very many"),
        pytest.param("sc_profile_15", 100, 15, 1, id="a whole page"),
        pytest.param("sc_profile_1", 100, 1, 1, id="one"),
    ],
)
async def test_posts_of_a_profile_are_listed(
    trusted: Standin, name: str, count: int, found: int, lists: int
) -> None:
    posts = await list_posts(trusted, f"https://www.tiktok.com/@{name}", count)
    expected = posts_from(name, found, 0, found)

    assert [post["id"] for post in posts] == [each.video_id for each in expected]
    assert [post["timestamp"] for post in posts] == [each.created for each in expected]
    assert posts[0]["url"] == page(expected[0].video_id, name)
    assert trusted.counters.requests == {"profile": 1, "listing": lists}


async def test_profile_without_its_id_is_found_by_its_posts(trusted: Standin) -> None:
    posts = await list_posts(trusted, "https://www.tiktok.com/@sc_profile.shell", 5)

    assert len(posts) == 5
    assert trusted.counters.requests == {"profile": 1, "embed": 1, "page": 1, "listing": 1}


async def test_posts_of_a_collection_are_listed(trusted: Standin) -> None:
    number = video_id("collection", param=70)
    url = f"https://www.tiktok.com/@anna/collection/cats-{number}"
    posts = await list_posts(trusted, url, 65)

    expected = posts_from(number, 70, 0, 65)
    assert [post["id"] for post in posts] == [each.video_id for each in expected]
    assert trusted.counters.requests == {"listing": 3}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sc_profile.private", "account is private"),
        ("sc_profile.empty", "does not have any videos posted"),
        ("sc_profile.hidden", "either private or all of their videos are private"),
        ("sc_list.429", "HTTP Error 429"),
        ("sc_list.nothing", "Failed to parse JSON"),
        ("sc_list.same", "keeps sending the same page"),
        ("sc_login", "Unable to extract secondary user ID"),
    ],
)
async def test_profile_scenario_raises_its_error(trusted: Standin, name: str, message: str) -> None:
    with pytest.raises((DownloadError, ExtractorError), match=message):
        await list_posts(trusted, f"https://www.tiktok.com/@{name}", 20)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("deleted", "Your IP address is blocked"),
        ("region", "Your IP address is blocked"),
        ("blocked", "Your IP address is blocked"),
        ("selfsee", "Your IP address is blocked"),
        ("private", "You do not have permission to view this post"),
        ("privateaccount", "You do not have permission to view this post"),
        ("withheld", "status code 10231"),
        ("status", "status code 10217"),
        ("noitem", "status code 0"),
        ("age", "may not be comfortable for some audiences"),
        ("login", "requiring login for access"),
        ("layout", "Unexpected response from webpage request"),
        ("captcha", "Unable to extract challenge data"),
        ("noformats", "No video formats found"),
    ],
)
async def test_scenario_raises_its_error(trusted: Standin, scenario: str, message: str) -> None:
    error = await failure(trusted, page(video_id(scenario)))

    assert isinstance(error, ExtractorError)
    assert message in str(error)


@pytest.mark.parametrize("status", [403, 404, 429, 451, 500, 502, 503])
async def test_status_of_a_page_is_raised(trusted: Standin, status: int) -> None:
    error = await failure(trusted, page(video_id(f"page.{status}")))

    assert isinstance(error, HTTPError)
    assert error.status == status
    assert error.response.get_header("Retry-After") is None


async def test_retry_after_header_is_sent(trusted: Standin) -> None:
    error = await failure(trusted, page(video_id("page.429after", param=17)))

    assert isinstance(error, HTTPError)
    assert error.response.get_header("Retry-After") == "17"


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        pytest.param("page.reset", TransportError, id="reset"),
        pytest.param("page.truncated", IncompleteRead, id="truncated"),
        pytest.param("page.gzip", TransportError, id="broken gzip"),
        pytest.param("page.hang", TransportError, id="hang"),
    ],
)
async def test_interrupted_page_raises_its_error(
    trusted: Standin, scenario: str, kind: type[BaseException]
) -> None:
    error = await failure(trusted, page(video_id(scenario)), socket_timeout=0.5)

    assert isinstance(error, kind)


@pytest.mark.parametrize(
    ("scenario", "kind"), [("connect.tls", SSLError), ("connect.502", ProxyError)]
)
async def test_connection_scenario_fails_until_it_is_cleared(
    trusted: Standin, scenario: str, kind: type[BaseException]
) -> None:
    trusted.switches.set(scenario)

    assert isinstance(await failure(trusted, page(video_id())), kind)
    trusted.switches.clear()
    assert (await extract(trusted, page(video_id())))["id"] == video_id()


async def test_page_is_available_after_two_failures(trusted: Standin) -> None:
    video = video_id("page.503", times=2)
    for _ in range(2):
        assert isinstance(await failure(trusted, page(video)), HTTPError)

    assert (await extract(trusted, page(video)))["id"] == video


async def test_scenario_of_a_user_name_applies_to_its_media(
    trusted: Standin, tmp_path: Path
) -> None:
    video, user = video_id(serial=80), user_name("kilobytes", param=7)
    name = str(tmp_path / "file.bin")
    await extract(trusted, page(video, user), format="play", outtmpl=name)

    assert (tmp_path / "file.bin").stat().st_size == 7 << 10


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param("dead", "404", id="dead"),
        pytest.param("loop", "redirect loop", id="loop"),
        pytest.param("outside", "403", id="outside"),
        pytest.param("home", "No suitable extractor", id="home"),
        pytest.param("photo", "No suitable extractor", id="photo"),
        pytest.param("page", "Unsupported URL", id="no redirect"),
    ],
)
async def test_unusable_short_link_raises_its_error(
    trusted: Standin, kind: str, message: str
) -> None:
    code = short_code(video_id(), kind)
    with pytest.raises(DownloadError, match=message):
        await extract(trusted, f"https://vm.tiktok.com/{code}/")


async def test_outside_target_of_a_short_link_is_recorded(trusted: Standin) -> None:
    with pytest.raises(DownloadError):
        await extract(trusted, f"https://vm.tiktok.com/{short_code(video_id(), 'outside')}/")

    assert trusted.counters.refused_hosts == {"clips.example.com:443": 1}


async def test_untrusted_authority_is_rejected(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    error = await failure(standin, page(video_id()))

    assert "certificate" in str(error).lower()
    assert standin.counters.requests == {}
