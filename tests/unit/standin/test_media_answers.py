"""Media over HTTP, as seen by a downloader."""

import asyncio
import hashlib
import re
import time

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin import Standin, expected_images, expected_media, user_name, video_id
from tests.standin.media import Content
from tests.standin.media_answers import Span, requested_span
from tests.standin.media_shapes import SOUND
from tests.standin.wire import Request
from tests.unit.standin.clients import Client, receive_body

SMALL = video_id("kilobytes", param=300, serial=1)
FORMAT = "h264_540p_480000"
SIZE = 300 << 10


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_complete_file_is_served(client: Client) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url) as response:
        content = await response.read()
        headers = response.headers

    wanted = expected_media(SMALL, FORMAT)
    assert (len(content), sha256(content)) == (wanted.size, wanted.sha256)
    assert headers["Content-Type"] == wanted.media_type == "video/mp4"
    assert (headers["Accept-Ranges"], headers["Content-Length"]) == ("bytes", str(SIZE))


async def test_head_has_headers_only(standin: Standin, client: Client) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url, "HEAD") as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(SIZE))
        assert await response.read() == b""
    async with client.request(url) as response:
        assert len(await response.read()) == SIZE

    assert standin.counters.requests == {"page": 1, "media_head": 1, "media": 1}


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        pytest.param("bytes=0-99", 0, 99, id="start"),
        pytest.param("bytes=100-", 100, SIZE - 1, id="open end"),
        pytest.param("bytes=-50", SIZE - 50, SIZE - 1, id="suffix"),
        pytest.param("bytes=65000-70000", 65000, 70000, id="over a block"),
        pytest.param(f"bytes=100-{10**9}", 100, SIZE - 1, id="end beyond the file"),
    ],
)
async def test_range_is_served(client: Client, wanted: str, first: int, last: int) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url) as response:
        whole = await response.read()
    async with client.request(url, headers={"Range": wanted}) as response:
        part = await response.read()

    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert part == whole[first : last + 1]


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=-0", "bytes=9-3"])
async def test_unsatisfiable_range_is_refused(client: Client, wanted: str) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url, headers={"Range": wanted}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("wanted", ["", "items=0-1", "bytes=-", "bytes=a-b", "bytes=0-1,5-6"])
async def test_malformed_ranges_are_ignored(client: Client, wanted: str) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url, headers={"Range": wanted}) as response:
        assert (response.status, len(await response.read())) == (200, SIZE)


async def test_if_range_requires_a_matching_etag(client: Client) -> None:
    url = await client.media_url(SMALL)
    async with client.request(url, "HEAD") as response:
        etag = response.headers["ETag"]
    statuses = []
    for validator in (etag, '"another"'):
        headers = {"Range": "bytes=10-", "If-Range": validator}
        async with client.request(url, headers=headers) as response:
            await response.read()
            statuses.append(response.status)

    assert statuses == [206, 200]


@given(
    size=st.integers(1, 10_000),
    first=st.integers(0, 12_000) | st.none(),
    last=st.integers(0, 12_000) | st.none(),
)
def test_span_is_within_the_file(size: int, first: int | None, last: int | None) -> None:
    numbers = ["" if number is None else str(number) for number in (first, last)]
    request = Request("GET", "h", "/", {"range": f"bytes={'-'.join(numbers)}"})
    span = requested_span(request, Content("7", "play", size, SOUND))

    if span is not None:
        assert 0 <= span.start < size
        assert 0 < span.length <= size - span.start
        assert span.asked or span == Span(0, size, asked=False)


async def test_cookie_of_the_page_is_required(client: Client) -> None:
    url = await client.media_url(SMALL)
    client.session.cookie_jar.clear()
    async with client.request(url) as response:
        assert response.status == 403


async def test_other_hosts_require_no_cookie(client: Client) -> None:
    item = await client.item(SMALL)
    client.session.cookie_jar.clear()
    for url in (item["video"]["downloadAddr"], item["music"]["playUrl"], item["video"]["cover"]):
        async with client.request(url) as response:
            assert response.status == 200
            assert await response.read()


async def test_missing_media_is_not_found(client: Client) -> None:
    listed_url = await client.media_url(SMALL, "sc_unplayable")
    async with client.request(listed_url) as response:
        assert response.status == 200
    async with client.request(listed_url.replace("&sc=sc_unplayable", "&sc=sc_photo")) as response:
        assert response.status == 404
    async with client.request("https://v19.tiktokcdn.com/favicon.ico") as response:
        assert response.status == 404


async def test_images_are_served(standin: Standin, client: Client) -> None:
    video = video_id("photo", param=3)
    item = await client.item(video)
    sums = []
    for picture in item["imagePost"]["images"]:
        async with client.request(picture["imageURL"]["urlList"][0]) as response:
            sums.append(sha256(await response.read()))

    assert sums == [image.sha256 for image in expected_images(video)]
    assert standin.counters.of(video, "image") == 3


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
async def test_status_scenario_has_its_status(client: Client, status: int) -> None:
    url = await client.media_url(video_id(f"media.{status}"))
    async with client.request(url) as response:
        assert response.status == status


async def test_media_is_available_after_one_failure(client: Client) -> None:
    url = await client.media_url(video_id("media.503", times=1))
    statuses = []
    for _ in range(3):
        async with client.request(url) as response:
            statuses.append(response.status)
            await response.read()

    assert statuses == [503, 200, 200]


@pytest.mark.parametrize(
    ("scenario", "param", "sent"),
    [
        pytest.param("media.truncated", 0, None, id="half and closed"),
        pytest.param("media.truncated", 64, 64 << 10, id="64 KiB and closed"),
        pytest.param("media.reset", 64, 64 << 10, id="64 KiB and reset"),
        pytest.param("media.reset", 500, 500 << 10, id="500 KiB and reset"),
    ],
)
async def test_transfer_ends_early(
    client: Client, scenario: str, param: int, sent: int | None
) -> None:
    video = video_id(scenario, param=param, times=1)
    url = await client.media_url(video)
    async with client.request(url) as response:
        part, error = await receive_body(response)
    async with client.request(url) as response:
        whole = await response.read()

    assert error is not None
    assert len(part) == (len(whole) // 2 if sent is None else sent)
    assert sha256(whole) == expected_media(video, FORMAT).sha256
    assert whole.startswith(part)


async def test_response_without_a_length_is_served(client: Client) -> None:
    results = []
    for param in (0, 64):
        url = await client.media_url(video_id("media.unsized", param=param))
        async with client.request(url) as response:
            assert "Content-Length" not in response.headers
            results.append(await receive_body(response))

    assert results[0][1] is results[1][1] is None
    assert len(results[0][0]) == expected_media(video_id("media.unsized"), FORMAT).size
    assert len(results[1][0]) == 64 << 10


async def test_file_changes_after_the_interruption(client: Client) -> None:
    video = video_id("media.changed", param=64)
    url = await client.media_url(video)
    async with client.request(url) as response:
        etag = response.headers["ETag"]
        part, error = await receive_body(response)
    headers = {"Range": f"bytes={len(part)}-", "If-Range": etag}
    async with client.request(url, headers=headers) as response:
        whole = await response.read()

    assert error is not None
    assert (response.status, response.headers["ETag"] == etag) == (200, False)
    assert sha256(whole) == expected_media(video, FORMAT, version=2).sha256
    assert not whole.startswith(part)


async def test_range_is_ignored(client: Client) -> None:
    url = await client.media_url(video_id("media.norange"))
    async with client.request(url, headers={"Range": "bytes=100-"}) as response:
        content = await response.read()

    assert response.status == 200
    assert len(content) == expected_media(video_id("media.norange"), FORMAT).size


@pytest.mark.parametrize(("scenario", "at_least"), [("media.hang", 0), ("media.stall", 64 << 10)])
async def test_response_stalls(
    standin: Standin, client: Client, scenario: str, at_least: int
) -> None:
    video = video_id(scenario, param=64)
    url = await client.media_url(video)
    content = bytearray()

    async def read() -> None:
        async with client.request(url) as response:
            async for chunk in response.content.iter_any():
                content.extend(chunk)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 0.3)
    assert len(content) == at_least
    assert standin.counters.max_open_media == 1
    # Two event loop iterations on either side of the socket, and a margin.
    await asyncio.sleep(0.1)
    assert standin.counters.open_media == 0


@pytest.mark.parametrize(
    ("user", "global_pace"),
    [
        pytest.param(user_name("media.slow", param=600), None, id="KiB/s in the name"),
        pytest.param("_", 600.0 * 1024, id="switched for all"),
    ],
)
async def test_pace_limits_the_rate(
    standin: Standin, client: Client, user: str, global_pace: float | None
) -> None:
    standin.switches.media_bytes_per_second = global_pace
    url = await client.media_url(SMALL, user)
    started = time.monotonic()
    async with client.request(url) as response:
        assert len(await response.read()) == SIZE

    assert 0.4 < time.monotonic() - started < 2.0


async def test_paced_connection_is_reused(standin: Standin, client: Client) -> None:
    url = await client.media_url(SMALL, user_name("media.slow", param=2000))
    for _ in range(2):
        async with client.request(url) as response:
            assert len(await response.read()) == SIZE

    assert standin.counters.connections == 2  # one for the page's host, one for the media's


async def test_transfer_takes_the_given_seconds(client: Client) -> None:
    url = await client.media_url(video_id("media.takes", param=1))
    started = time.monotonic()
    async with client.request(url) as response:
        await response.read()

    assert 0.9 < time.monotonic() - started < 2.5


async def test_tls_handshake_is_reset(client: Client) -> None:
    url = await client.media_url(video_id("media.tls"))
    with pytest.raises(aiohttp.ClientConnectorError):
        async with client.request(url):
            pass


async def test_concurrent_streams_are_counted(standin: Standin, client: Client) -> None:
    url = await client.media_url(SMALL, user_name("media.slow", param=600))

    async def read() -> None:
        async with client.request(url) as response:
            await response.read()

    await asyncio.gather(*(read() for _ in range(3)))

    assert standin.counters.max_open_media == 3
    assert standin.counters.of(SMALL, "media") == 3


async def test_large_file_is_streamed(client: Client) -> None:
    video = video_id("size", param=128)
    url = await client.media_url(video)
    digest = hashlib.sha256()
    async with client.request(url) as response:
        async for chunk in response.content.iter_any():
            digest.update(chunk)

    assert digest.hexdigest() == expected_media(video, FORMAT).sha256


async def statuses(client: Client, *urls: str) -> list[int]:
    found = []
    for url in urls:
        async with client.request(url) as response:
            await response.read()
            found.append(response.status)
    return found


async def test_links_of_the_first_page_are_refused_and_new_ones_accepted(client: Client) -> None:
    video = video_id("media.expired")
    first, second = await client.media_url(video), await client.media_url(video)

    assert await statuses(client, first, second, first) == [403, 200, 403]


async def test_links_of_several_pages_can_be_refused(client: Client) -> None:
    video = video_id("media.expired", param=2)
    urls = [await client.media_url(video) for _ in range(3)]

    assert await statuses(client, *urls) == [403, 403, 200]


async def test_working_links_can_be_refused_by_a_switch(standin: Standin, client: Client) -> None:
    one, other = video_id(serial=71), video_id(serial=72)
    urls = [await client.media_url(video) for video in (one, other)]
    before = await statuses(client, *urls)
    standin.switches.set("media.expired")

    assert (before, await statuses(client, *urls)) == ([200, 200], [403, 403])
    assert await statuses(client, await client.media_url(one)) == [200]


async def test_refused_links_have_a_valid_expiry(client: Client) -> None:
    urls = [await client.media_url(video_id(name)) for name in ("media.expired", "ok")]
    expiries = [re.findall(r"expire=(\d+)", url) for url in urls]

    assert abs(int(expiries[0][0]) - int(expiries[1][0])) < 60


@pytest.mark.parametrize(
    ("param", "broken"), [(0, "h264_1080p_1600000"), (1, "h264_540p_480000"), (7, "play")]
)
async def test_one_format_is_missing(client: Client, param: int, broken: str) -> None:
    video = (await client.item(video_id("media.broken", param=param)))["video"]
    urls = {
        url.split("/")[-2]: url
        for rendition in video["bitrateInfo"]
        for url in rendition["PlayAddr"]["UrlList"][:2]
    }
    urls["play"] = video["playAddr"]
    found = {name: (await statuses(client, url))[0] for name, url in urls.items()}

    assert found == {name: 404 if name == broken else 200 for name in urls}
