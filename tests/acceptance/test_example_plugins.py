"""The example of each kind of plug-in, installed as a package, in a real pipeline."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from agents.caching import BackendSettings
from agents.caching.interface import find_backend
from streams.topics import Topic
from tests.acceptance.client import Message, PipelineClient, get, page
from tests.pipeline_process import PipelineProcess
from tests.standin import expected_media, video_id
from tests.standin.media_marks import beeps, flashes
from tests.standin.other_sites import ELSEWHERE_API, FILES
from tests.standin.sessions import living_session
from tests.standin.streams import MOVIE

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"
THUMBNAILS = Topic("thumbnails", "video key", "The topic of the stage's own.")


def clip(video: str) -> str:
    return f"https://{ELSEWHERE_API}/c/{video}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the examples, built and installed into a folder, without an index."""
    target = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "plugins"
    subprocess.run(["cp", "-r", str(EXAMPLES), str(source)], check=True)
    command = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--offline", "--no-deps"]
    command += ["--no-build-isolation", "--python", sys.executable, "--target", str(target)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    return target


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(
    tmp_path_factory: pytest.TempPathFactory, installed: Path
) -> AsyncIterator[PipelineProcess]:
    directory = tmp_path_factory.mktemp("pipeline")
    options = {"platform": "tiktok", "domain": ".tiktok.com", "cookie": "sessionid"}
    variables = {
        "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]),
        "CLIPMILL_CACHE__BACKEND": "files",
        "CLIPMILL_CACHE__REDIS_URL": f"file://{directory}/cache",
        "CLIPMILL_AUTH__AUTHENTICATOR": "sessions",
        "CLIPMILL_AUTH__OPTIONS": json.dumps(options | {"values": living_session(1)}),
    }
    async with PipelineProcess(directory, **variables) as pipeline:
        status, output, errors = await pipeline.clipmill("topics", "apply")
        assert (status, output) == (0, f"created {THUMBNAILS.kafka_name()}\n"), errors
        await pipeline.start_worker("all")
        yield pipeline


def stored(uri: str) -> bytes:
    return Path(unquote(urlsplit(uri).path)).read_bytes()


async def thumbnail_of(client: PipelineClient, request_id: str) -> Message:
    async with asyncio.timeout(30):
        while not (found := await client.messages(THUMBNAILS, request_id=request_id)):
            await client.pipeline.read_results(0.2)
    assert all(each == found[0] for each in found)
    return found[0]


async def test_platform_resolves_reads_and_downloads_a_clip(client: PipelineClient) -> None:
    video = video_id("kilobytes", param=64, serial=1)
    result = await client.request(clip(video))
    assert result["status"] == "completed", result
    assert (result["video"]["platform"], result["video"]["title"]) == (
        "elsewhere",
        f"Clip {video}",
    )
    expected = expected_media(video, FILES["mp4"])
    (file,) = result["files"]
    assert (file["bytes"], file["sha256"]) == (expected.size, expected.sha256)


@pytest.mark.parametrize(
    ("scenario", "protocol", "joined"),
    [("hls", "hls", ("hls-900", "hls-a-sound")), ("dash", "dash", ("dash-0", "dash-1"))],
)
async def test_stream_becomes_a_file_in_sync(
    client: PipelineClient, scenario: str, protocol: str, joined: tuple[str, str]
) -> None:
    result = await client.request(clip(video_id(scenario, serial=30)))
    assert result["status"] == "completed", result
    assert {each["protocol"] for each in result["video"]["formats"]} == {protocol}
    (file,) = result["files"]
    assert file["format_id"] == "+".join(joined)
    assert file["duration_seconds"] == pytest.approx(MOVIE.seconds, abs=0.2)
    path = Path(unquote(urlsplit(file["uri"]).path))
    shown = flashes(path)
    assert shown == pytest.approx(MOVIE.marks, abs=0.04)
    assert beeps(path) == pytest.approx(shown, abs=0.04)


async def test_encrypted_rendition_is_decrypted(client: PipelineClient) -> None:
    result = await client.request(
        clip(video_id("hls", serial=31)), options={"quality": "360p", "degrade": False}
    )
    assert result["status"] == "completed", result
    (file,) = result["files"]
    assert (file["format_id"], file["codec"], file["audio_codec"]) == ("hls-300", "h264", "aac")
    path = Path(unquote(urlsplit(file["uri"]).path))
    assert beeps(path) == pytest.approx(flashes(path), abs=0.04)


async def test_platform_rejects_other_pages_of_its_host(client: PipelineClient) -> None:
    result = await client.request(f"https://{ELSEWHERE_API}/about")
    assert result["error"]["error_type"] == "content.unsupported"
    assert "this is not the page of a clip of Elsewhere" in result["error"]["user_message"]


async def test_error_handler_retries_a_clip_until_it_is_there(client: PipelineClient) -> None:
    result = await client.request(clip(video_id("page.404", times=2, serial=2)), action="info")
    assert (result["status"], result["attempts"]) == ("completed", 3)
    assert {(step["strategy"], step["code"]) for step in result["recovery"]} == {
        ("fresh_extraction", "content.not_found")
    }


async def test_error_handler_leaves_the_decision_to_the_policy_in_the_end(
    client: PipelineClient,
) -> None:
    result = await client.request(clip(video_id("missing", serial=3)), action="info")
    assert result["error"]["error_type"] == "content.not_found"
    assert "its author withdrew it" in result["error"]["user_message"]
    assert result["attempts"] == 4


@pytest.mark.parametrize("link", [page, clip], ids=["tiktok", "elsewhere"])
async def test_stage_stores_the_thumbnail_once_and_publishes_a_record_per_request(
    client: PipelineClient, link: object
) -> None:
    video = video_id("kilobytes", param=16, serial=4 if link is page else 5)
    url = link(video)  # type: ignore[operator]
    first = await client.request(url)
    thumbnail = await thumbnail_of(client, first["request_id"])
    assert thumbnail["video"] == f"{first['video']['platform']}:{video}"
    picture = await asyncio.to_thread(stored, thumbnail["uri"])
    assert picture.startswith(b"\xff\xd8")
    assert len(picture) == thumbnail["bytes"]
    again = await client.request(url)
    repeated = await thumbnail_of(client, again["request_id"])
    assert repeated == thumbnail | {"request_id": again["request_id"]}
    assert client.request_counts(video)["image"] == 1


async def test_stage_publishes_the_reason_of_a_missing_thumbnail(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    await pipeline.publish({"id": "no-picture", "url": page(video_id("media.404", serial=6))})
    thumbnail = await thumbnail_of(client, "no-picture")
    assert "uri" not in thumbnail
    assert thumbnail["error_type"] == "content.link_expired"


async def test_stage_has_acls_health_and_metrics_like_any_other(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    command = ("topics", "acls", "worker", "--stage", "thumbnail", "--principal", "User:w")
    status, output, errors = await pipeline.clipmill(*command, "--json")
    assert status == 0, errors
    written = {
        acl["name"] for acl in map(json.loads, output.splitlines()) if "WRITE" in acl["operations"]
    }
    topics = ("thumbnails", "attempts", "deadletters", "signals")
    assert written == {f"clipmill.{name}.v1" for name in topics}
    metrics = await get(f"{pipeline.workers[-1].ready['http']}/metrics")
    assert 'clipmill_tasks_limit{operation="thumbnail"} 16.0' in metrics
    assert 'clipmill_tasks_limit{operation="download"} 16.0' in metrics
    assert await client.metrics()


async def test_authenticator_provides_the_session_that_a_post_requires(
    client: PipelineClient,
) -> None:
    result = await client.request(page(video_id("members", serial=7)), action="info")
    assert result["status"] == "completed", result
    assert [step["strategy"] for step in result["recovery"]] == ["authenticate"]


async def test_cache_backend_holds_the_pages_that_were_read(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await client.request(page(video_id("kilobytes", param=16, serial=8)), action="info")
    assert result["status"] == "completed"
    assert list((pipeline.directory / "cache").iterdir())


async def test_cache_backend_returns_entries_until_they_expire(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    open_backend = find_backend("files")
    assert open_backend is not None
    async with open_backend(BackendSettings(url=f"file://{tmp_path}/cache")) as backend:
        assert await backend.get("key") is None
        await backend.set("key", b"value", 60.0)
        assert await backend.get("key") == b"value"
        await backend.set("key", b"value", -1.0)
        assert await backend.get("key") is None
        await backend.delete("key")
        await backend.delete("key")


async def test_hooks_are_installed(pipeline: PipelineProcess) -> None:
    metrics = await get(f"{pipeline.workers[-1].ready['http']}/metrics")
    assert 'clipmill_plugin_troubles_total{plugin="slow_requests",trouble="error"} 0.0' in metrics
