"""Hostile streams: refused within bounds, with one outcome, and no other host is dialled."""

import resource
import time
from pathlib import Path

import pytest

from schemas.errors import ErrorCode, ErrorContext
from tests.integration.hostile_manifests import DASH, HLS, Hostile, segment
from tests.integration.stream_site import HOST, file_of, stream_harness, track
from tests.standin.media_marks import Marked
from tests.standin.media_streams import TS, encrypted, hls
from tests.standin.wire import Reply, Request, text_reply, whole

SECONDS_MAX = 5.0
MEMORY_BYTES_MAX = 200 * 2**20
"""Growth of the process over all manifests; the largest has 8 MB."""

CASES = [
    *((f"HLS: {name}", "media.m3u8", None, case) for name, case in HLS.items()),
    *((f"DASH: {name}", "media.mpd", "v", case) for name, case in DASH.items()),
]
MOVIE = Marked(group=30)


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize(
    ("name", "representation", "case"),
    [each[1:] for each in CASES],
    ids=[each[0] for each in CASES],
)
async def test_hostile_manifest_is_refused_before_a_segment_is_requested(
    name: str, representation: str | None, case: Hostile, state_dir: Path, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with stream_harness(tmp_path, state_dir, {name: case.built()}) as harness:
        started = time.process_time()
        error = await harness.run(file_of(track(name, representation=representation)))
        assert time.process_time() - started < SECONDS_MAX
    assert isinstance(error, ErrorContext)
    assert error.error_type is case.code, error
    assert case.reason in error.user_message, error
    assert set(harness.site.requested) == {name}
    assert set(harness.site.dialled) == {f"{HOST}:443"}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MEMORY_BYTES_MAX


def redirecting(location: str) -> Reply:
    return Reply(302, whole(b""), (("Location", location),))


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("media.m3u8", "https://evil.example/media.m3u8"),
        ("media.m3u8", "file:///etc/passwd"),
        ("media.m3u8", "http://127.0.0.1/media.m3u8"),
        ("0.key", "https://evil.example/key"),
        ("media1.ts", "https://evil.example/media1.ts"),
        ("media1.ts", "//169.254.169.254/"),
    ],
)
async def test_redirect_to_another_host_is_refused(
    target: str, location: str, state_dir: Path, tmp_path: Path
) -> None:
    def answer(request: Request) -> Reply | None:
        return redirecting(location) if request.path == f"/post/{target}" else None

    files = encrypted(hls(MOVIE, TS), explicit=True, rotate=False)
    async with stream_harness(tmp_path, state_dir, files, answer) as harness:
        error = await harness.run(file_of(track()))
    assert isinstance(error, ErrorContext)
    assert error.error_type is ErrorCode.PLATFORM_CHANGED
    assert set(harness.site.dialled) == {f"{HOST}:443"}


async def test_redirect_loop_is_bounded(state_dir: Path, tmp_path: Path) -> None:
    def answer(request: Request) -> Reply | None:
        del request
        return redirecting("/post/media.m3u8")

    async with stream_harness(tmp_path, state_dir, {}, answer) as harness:
        error = await harness.run(file_of(track()))
    assert isinstance(error, ErrorContext)
    assert error.error_type is ErrorCode.NETWORK_SERVER
    assert len(harness.site.requested) < 50


ANSWERS: dict[str, tuple[str, Reply, ErrorCode]] = {
    "segment without an end": (
        "media1.ts",
        Reply(200, whole(bytes(60_000_000)), sized=False),
        ErrorCode.REQUEST_TOO_LARGE,
    ),
    "segment that declares a huge size": (
        "media1.ts",
        Reply(200, whole(bytes(60_000_000))),
        ErrorCode.REQUEST_TOO_LARGE,
    ),
    "segment that is a page": (
        "media1.ts",
        Reply(200, whole(b"<html>"), (("Content-Type", "text/html"),)),
        ErrorCode.CONTENT_LINK_EXPIRED,
    ),
    "segment of noise": ("media1.ts", Reply(200, whole(bytes(9_000))), ErrorCode.CONTENT_DAMAGED),
    "segment that is gone": ("media1.ts", text_reply(404, "gone"), ErrorCode.CONTENT_LINK_EXPIRED),
    "segment that is forbidden": ("media1.ts", text_reply(403, ""), ErrorCode.CONTENT_LINK_EXPIRED),
    "segment that is empty": ("media1.ts", Reply(200, whole(b"")), ErrorCode.NETWORK_SERVER),
    "segment that always fails": ("media1.ts", text_reply(500, ""), ErrorCode.NETWORK_SERVER),
    "segments beyond the rate": ("media1.ts", text_reply(429, ""), ErrorCode.RATE_LIMIT_API),
    "unrequested part of a segment": (
        "media1.ts",
        Reply(206, whole(b"abc"), (("Content-Range", "bytes 0-2/9"),)),
        ErrorCode.NETWORK_SERVER,
    ),
    "key that is too short": ("0.key", Reply(200, whole(b"abc")), ErrorCode.PLATFORM_CHANGED),
    "key that is too long": ("0.key", Reply(200, whole(bytes(99))), ErrorCode.REQUEST_TOO_LARGE),
    "another key": ("0.key", Reply(200, whole(bytes(16))), ErrorCode.CONTENT_DAMAGED),
    "manifest that is a page": (
        "media.m3u8",
        Reply(200, whole(b"<html>"), (("Content-Type", "text/html; charset=utf-8"),)),
        ErrorCode.CONTENT_LINK_EXPIRED,
    ),
}


@pytest.mark.parametrize(("name", "reply", "code"), ANSWERS.values(), ids=ANSWERS)
async def test_hostile_answer_ends_with_its_code(
    name: str, reply: Reply, code: ErrorCode, state_dir: Path, tmp_path: Path
) -> None:
    def answer(request: Request) -> Reply | None:
        return reply if request.path == f"/post/{name}" else None

    files = encrypted(hls(MOVIE, TS), explicit=True, rotate=False)
    if name == "media1.ts" and code is ErrorCode.CONTENT_DAMAGED:
        files = hls(MOVIE, TS)
    async with stream_harness(tmp_path, state_dir, files, answer) as harness:
        error = await harness.run(file_of(track()))
    assert isinstance(error, ErrorContext), error
    assert error.error_type is code, error


async def test_server_that_ignores_ranges_is_refused(state_dir: Path, tmp_path: Path) -> None:
    files = {"media.m3u8": segment("a.ts", "#EXT-X-BYTERANGE:5@3").encode()}

    def answer(request: Request) -> Reply | None:
        return Reply(200, whole(b"0123456789")) if request.path.endswith("a.ts") else None

    async with stream_harness(tmp_path, state_dir, files, answer) as harness:
        error = await harness.run(file_of(track()))
    assert isinstance(error, ErrorContext)
    assert "another range" in error.user_message
