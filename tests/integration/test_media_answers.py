import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest

from agents.network.download import Fetched
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, MediaSource, VideoFormat
from tests.integration.media_client import TOKEN, fetch, limits
from tests.integration.media_server import Answers, scripted_site
from tests.standin.wire import Cut, Delivery, Reply, Request, whole

MEDIA = bytes(range(256)) * 400
LAST = len(MEDIA) - 1
FIRST = "https://v16-webapp-prime.tiktok.com/first?signature=a%2Fb+c%20d"
OTHER = "https://v19.tiktokcdn.com/second?x=1"
SCRIPTED = MediaSource(
    format=VideoFormat(format_id="play", container="mp4"),
    url=FIRST,
    headers={"Referer": "https://www.tiktok.com/", "User-Agent": "test", "Cookie": "session=1"},
    cookies=(TOKEN, Cookie(name="cdn", value="1", domain=".tiktokcdn.com")),
)


def media(*headers: tuple[str, str], status: int = 200, content: bytes = MEDIA) -> Reply:
    return Reply(status, whole(content), headers or (("Content-Type", "video/mp4"),))


def redirect(location: str, status: int = 302) -> Reply:
    return Reply(status, whole(b"moved"), (("Location", location),))


async def fetch_scripted(
    answers: Answers, state_dir: Path, target: Path, **changes: float
) -> tuple[Fetched, list[Request]]:
    async with scripted_site(state_dir, answers) as (site, egress):
        fetched = await fetch(egress, SCRIPTED, target, limits=limits(**changes))
    return fetched, site.requests


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed_with_the_cookies_of_each_host(
    status: int, state_dir: Path, tmp_path: Path
) -> None:
    def answers(request: Request) -> Reply:
        return media() if request.host == "v19.tiktokcdn.com" else redirect(OTHER, status)

    fetched, requests = await fetch_scripted(answers, state_dir, tmp_path / "file")
    assert fetched.sha256 == hashlib.sha256(MEDIA).hexdigest()
    assert [each.target for each in requests] == ["/first?signature=a%2Fb+c%20d", "/second?x=1"]
    assert [each.headers["cookie"] for each in requests] == ["tt_chain_token=abc==", "cdn=1"]
    for each in requests:
        assert each.headers["accept-encoding"] == "identity"
        assert each.headers["user-agent"] == "test"
        assert each.headers["referer"] == "https://www.tiktok.com/"


async def test_relative_redirect_stays_on_its_host(state_dir: Path, tmp_path: Path) -> None:
    def answers(request: Request) -> Reply:
        return media() if request.path == "/third" else redirect("/third")

    _, requests = await fetch_scripted(answers, state_dir, tmp_path / "file")
    assert [each.host for each in requests] == ["v16-webapp-prime.tiktok.com"] * 2


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/x",
        "http://v16-webapp-prime.tiktok.com/x",
        "https://v16-webapp-prime.tiktok.com:8443/x",
        "https://127.0.0.1/x",
        "https://v16-webapp-prime.tiktok.com@evil.example/x",
        "//evil.example/x",
        "file:///etc/passwd",
        "https://[",
        "",
    ],
)
async def test_redirect_off_the_platform_is_not_followed(
    location: str, state_dir: Path, tmp_path: Path
) -> None:
    async with scripted_site(state_dir, lambda _: redirect(location)) as (site, egress):
        with pytest.raises(ClipmillError) as caught:
            await fetch(egress, SCRIPTED, tmp_path / "file", limits=limits(redirects=1))
    expected = ErrorCode.NETWORK_SERVER if location == "" else ErrorCode.PLATFORM_CHANGED
    assert caught.value.code is expected
    assert {each.host for each in site.requests} == {"v16-webapp-prime.tiktok.com"}


async def test_redirects_are_limited(state_dir: Path, tmp_path: Path) -> None:
    async with scripted_site(state_dir, lambda _: redirect(FIRST)) as (site, egress):
        with pytest.raises(ClipmillError, match="more than 5 times") as caught:
            await fetch(egress, SCRIPTED, tmp_path / "file")
    assert caught.value.code is ErrorCode.NETWORK_SERVER
    assert len(site.requests) == 6


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (media(("Content-Type", "text/html")), ErrorCode.CONTENT_LINK_EXPIRED),
        (media(("Content-Type", "application/json")), ErrorCode.CONTENT_LINK_EXPIRED),
        (media(("Content-Encoding", "gzip")), ErrorCode.NETWORK_SERVER),
        (media(("Content-Encoding", "compress")), ErrorCode.NETWORK_SERVER),
        (media(("Content-Range", f"bytes 9-{len(MEDIA) + 8}/200000")), ErrorCode.NETWORK_SERVER),
        (media(("Content-Type", "multipart/byteranges")), ErrorCode.CONTENT_LINK_EXPIRED),
        (media(content=b""), ErrorCode.NETWORK_SERVER),
        (media(status=206), ErrorCode.NETWORK_SERVER),
        (media(status=410), ErrorCode.CONTENT_LINK_EXPIRED),
        (media(status=451), ErrorCode.CONTENT_GEO_BLOCKED),
    ],
    ids=[
        "page",
        "api",
        "compressed",
        "unknown coding",
        "a part",
        "parts",
        "empty",
        "part",
        "gone",
        "withheld",
    ],
)
async def test_response_that_is_no_media_fails(
    reply: Reply, code: ErrorCode, state_dir: Path, tmp_path: Path
) -> None:
    async with scripted_site(state_dir, lambda _: reply) as (_, egress):
        with pytest.raises(ClipmillError) as caught:
            await fetch(egress, SCRIPTED, tmp_path / "file")
    assert caught.value.code is code


async def test_retry_after_is_reported(state_dir: Path, tmp_path: Path) -> None:
    reply = media(("Retry-After", "17"), status=429)
    async with scripted_site(state_dir, lambda _: reply) as (_, egress):
        with pytest.raises(ClipmillError) as caught:
            await fetch(egress, SCRIPTED, tmp_path / "file")
    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize(
    ("content_type", "mime_type"),
    [
        ("video/webm; codecs=vp9", "video/webm"),
        ("application/octet-stream", "video/mp4"),
        ("nonsense", "video/mp4"),
    ],
)
async def test_unknown_content_type_falls_back_to_the_container(
    content_type: str, mime_type: str, state_dir: Path, tmp_path: Path
) -> None:
    fetched, _ = await fetch_scripted(
        lambda _: media(("Content-Type", content_type)), state_dir, tmp_path / "file"
    )
    assert fetched.mime_type == mime_type


@pytest.mark.parametrize(
    ("validator", "second"),
    [
        (("ETag", 'W/"weak"'), media()),
        (("X-Nothing", "x"), media()),
        (("ETag", '"strong"'), Reply(416, whole(b"no"))),
        (("ETag", '"strong"'), media(("Content-Range", "bytes 7-9/10"), status=206)),
        (
            ("ETag", '"strong"'),
            media(("Content-Range", f"bytes 5000-9/{len(MEDIA)}"), ("ETag", '"new"'), status=206),
        ),
        (("ETag", '"strong"'), media(("Content-Range", f"bytes 7-{LAST}/{LAST + 1}"))),
        (("ETag", '"strong"'), media(("ETag", '"strong"'), content=MEDIA[5000:])),
        (
            ("ETag", '"strong"'),
            media(
                ("Content-Range", f"bytes 5000-{LAST}/{LAST + 1}"),
                ("Content-Encoding", "gzip"),
                status=206,
                content=gzip.compress(MEDIA[5000:]),
            ),
        ),
    ],
    ids=[
        *("weak etag", "no validator", "unsatisfiable", "another part", "another file"),
        *("200, another part", "200, the rest", "compressed rest"),
    ],
)
async def test_mismatching_partial_response_is_never_appended(
    validator: tuple[str, str], second: Reply, state_dir: Path, tmp_path: Path
) -> None:
    first = Reply(
        200,
        whole(MEDIA),
        (("Content-Type", "video/mp4"), validator),
        Delivery(cut=Cut(5000, "close")),
    )
    replies = [first, second, media(), media()]
    fetched, requests = await fetch_scripted(lambda _: replies.pop(0), state_dir, tmp_path / "file")
    assert fetched.sha256 == hashlib.sha256(MEDIA).hexdigest()
    assert (tmp_path / "file").read_bytes() == MEDIA
    strong = validator == ("ETag", '"strong"')
    ranges = [(each.headers.get("range"), each.headers.get("if-range")) for each in requests]
    assert ranges[1] == (("bytes=5000-", '"strong"') if strong else (None, None))
    assert ranges[-1] == (None, None)


async def test_last_modified_is_used_as_validator(state_dir: Path, tmp_path: Path) -> None:
    date = ("Last-Modified", "Mon, 23 Nov 2026 08:00:00 GMT")
    rest = ("Content-Range", f"bytes 5000-{len(MEDIA) - 1}/{len(MEDIA)}")
    replies = [
        Reply(200, whole(MEDIA), (date,), Delivery(cut=Cut(5000, "reset"))),
        media(rest, date, status=206, content=MEDIA[5000:]),
    ]
    fetched, requests = await fetch_scripted(lambda _: replies.pop(0), state_dir, tmp_path / "file")
    assert fetched.sha256 == hashlib.sha256(MEDIA).hexdigest()
    assert requests[1].headers["if-range"] == date[1]


@pytest.mark.parametrize("how", ["206", "200"])
async def test_partial_response_resumes_with_status_206_or_200(
    how: str, state_dir: Path, tmp_path: Path
) -> None:
    etag = ("ETag", '"e"')
    rest = ("Content-Range", f"bytes 5000-{LAST}/{LAST + 1}")
    replies = [
        Reply(200, whole(MEDIA), (etag,), Delivery(cut=Cut(5000, "close"))),
        media(rest, etag, status=int(how), content=MEDIA[5000:]),
    ]
    fetched, requests = await fetch_scripted(lambda _: replies.pop(0), state_dir, tmp_path / "file")
    assert (fetched.bytes, fetched.sha256) == (len(MEDIA), hashlib.sha256(MEDIA).hexdigest())
    assert requests[1].headers["range"] == "bytes=5000-"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)],
)
async def test_unrequested_compression_is_decoded(
    coding: str, encode: Callable[[bytes], bytes], state_dir: Path, tmp_path: Path
) -> None:
    reply = media(("Content-Encoding", coding), ("ETag", '"e"'), content=encode(MEDIA))
    fetched, _ = await fetch_scripted(lambda _: reply, state_dir, tmp_path / "file")
    assert (fetched.bytes, fetched.sha256) == (len(MEDIA), hashlib.sha256(MEDIA).hexdigest())


@pytest.mark.parametrize("sized", [True, False])
async def test_truncated_compressed_body_is_fetched_again_from_zero(
    sized: bool, state_dir: Path, tmp_path: Path
) -> None:
    sent = gzip.compress(MEDIA, 0)
    headers = (("Content-Encoding", "gzip"), ("ETag", '"e"'))
    cut = Delivery(cut=Cut(50_000, "close"))
    replies = [
        Reply(200, whole(sent), headers, cut, sized=sized),
        Reply(200, whole(sent), headers),
    ]
    fetched, requests = await fetch_scripted(lambda _: replies.pop(0), state_dir, tmp_path / "file")
    assert fetched.sha256 == hashlib.sha256(MEDIA).hexdigest()
    assert "range" not in requests[1].headers


async def test_decompression_bomb_ends_at_the_size_limit(state_dir: Path, tmp_path: Path) -> None:
    reply = media(("Content-Encoding", "gzip"), content=gzip.compress(bytes(1 << 22)))
    async with scripted_site(state_dir, lambda _: reply) as (_, egress):
        with pytest.raises(ClipmillError) as caught:
            await fetch(egress, SCRIPTED, tmp_path / "file", limits=limits(max_bytes=1 << 20))
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE
    assert (tmp_path / "file").stat().st_size <= 1 << 20
