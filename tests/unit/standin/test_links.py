import pytest

from tests.standin.links import (
    AUDIO_HOST,
    DOWNLOAD_HOST,
    IMAGE_HOSTS,
    VIDEO_HOSTS,
    Issue,
    image_url,
    media_address,
    media_url,
    page_of,
    refusal,
)
from tests.standin.posts import post_for
from tests.standin.wire import Request

NOW = 1_790_000_000.0
LIFETIME_SECONDS = 48 * 3600
ISSUE = Issue(NOW)
COOKIE = {"cookie": "ttwid=1; tt_chain_token=abc=="}
POST = post_for("7000000000000000001")


def request_for(url: str, headers: dict[str, str] | None = None) -> Request:
    host, _, rest = url.removeprefix("https://").partition("/")
    return Request("GET", host, f"/{rest}", headers or {})


@pytest.mark.parametrize("format_id", ["h264_720p_800000", "play", "audio"])
def test_media_url_encodes_video_and_format(format_id: str) -> None:
    request = request_for(media_url(POST, VIDEO_HOSTS[0], format_id, ISSUE))
    address = media_address(request.path)

    assert address is not None
    assert (address.video_id, address.format_id) == (POST.video_id, format_id)


def test_image_url_encodes_its_image() -> None:
    address = media_address(request_for(image_url(POST, IMAGE_HOSTS[1], "image_2", ISSUE)).path)

    assert address is not None
    assert address.format_id == "image_2"


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/video/tos/", "/7/../../etc/passwd"])
def test_other_paths_are_no_media(path: str) -> None:
    assert media_address(path) is None


def test_links_expire_after_two_days_and_name_their_cookie() -> None:
    query = request_for(media_url(POST, VIDEO_HOSTS[0], "play", ISSUE)).query

    assert int(query["expire"]) == NOW + LIFETIME_SECONDS
    assert query["tk"] == "tt_chain_token"
    assert query["l"].startswith("2026092")


@pytest.mark.parametrize(
    ("host", "headers", "later", "expected"),
    [
        pytest.param(VIDEO_HOSTS[0], COOKIE, 0, None, id="valid"),
        pytest.param(VIDEO_HOSTS[0], {}, 0, "cookie tt_chain_token missing", id="no cookie"),
        pytest.param(VIDEO_HOSTS[1], {}, 0, "cookie tt_chain_token missing", id="second host"),
        pytest.param(DOWNLOAD_HOST, {}, 0, None, id="outside the cookie's domain"),
        pytest.param(AUDIO_HOST, {}, 0, None, id="music"),
        pytest.param(VIDEO_HOSTS[0], COOKIE, LIFETIME_SECONDS - 1, None, id="last second"),
        pytest.param(VIDEO_HOSTS[0], COOKIE, LIFETIME_SECONDS, "link expired", id="expired"),
    ],
)
def test_link_is_refused_without_cookie_or_when_expired(
    host: str, headers: dict[str, str], later: int, expected: str | None
) -> None:
    request = request_for(media_url(POST, host, "play", ISSUE), headers)

    assert refusal(request, NOW + later) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [("/play/", "/download/"), ("expire=179", "expire=189"), ("signature=", "signature=f")],
)
def test_modified_link_is_refused(old: str, new: str) -> None:
    url = media_url(POST, VIDEO_HOSTS[0], "play", ISSUE)
    assert old in url

    assert refusal(request_for(url.replace(old, new), COOKIE), NOW) == "bad signature"


@pytest.mark.parametrize("number", [1, 2, 300])
def test_link_encodes_the_number_of_its_page(number: int) -> None:
    issue = Issue(NOW, "sc_ok", number)
    for url in (
        media_url(POST, DOWNLOAD_HOST, "play", issue),
        image_url(POST, IMAGE_HOSTS[0], "cover", issue),
    ):
        request = request_for(url)
        assert page_of(request) == number
        assert request.query["sc"] == "sc_ok"


@pytest.mark.parametrize("query", ["", "?page=", "?page=x", "?page=-1"])
def test_link_without_a_page_number_is_of_page_zero(query: str) -> None:
    assert page_of(request_for(f"https://{DOWNLOAD_HOST}/1/play/{query}")) == 0
