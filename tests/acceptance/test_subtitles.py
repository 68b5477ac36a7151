"""Subtitles through all stages, read by yt-dlp's extractors of Vimeo and X."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from tests.acceptance.client import Message, PipelineClient
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id
from tests.standin.youtube import short_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGLISH = b"""WEBVTT

00:00:00.500 --> 00:00:02.000 align:start
Hello alert(1)<i>there</i> &amp; here

00:00:03.000 --> 00:00:04.500
a line
and another
"""
PORTUGUESE = """1
00:00:01,000 --> 00:00:03,000
um

2
00:00:04,000 --> 00:00:06,000
dois

3
00:00:07,000 --> 00:00:08,000
três
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline")) as opened:
        await opened.start_worker("all")
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(pipeline: PipelineProcess) -> PipelineClient:
    return PipelineClient(pipeline)


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


def vimeo(serial: int) -> str:
    return f"https://vimeo.com/{video_id('ok', serial=serial)}"


def subtitles_of(result: Message) -> dict[str, Message]:
    """Return the subtitles of a result by the part of their name after the video's."""
    media, *others = result["files"]
    stem = path_of(media).name.removesuffix(".mp4")
    return {path_of(each).name.removeprefix(f"{stem}."): each for each in others}


def missing_of(result: Message) -> dict[str, str]:
    return {each["language"]: each["reason"] for each in result["missing_subtitles"]}


async def test_requested_subtitles_are_files_of_the_result(client: PipelineClient) -> None:
    options = {"subtitles": ["en", "de", "ja"], "subtitle_formats": ["vtt", "srt"]}
    result = await client.request(vimeo(1), options=options)
    assert result["status"] == "completed", result
    found = subtitles_of(result)
    assert list(found) == ["en-US.vtt", "en-US.srt", "de.vtt", "de.srt"]
    assert path_of(found["en-US.vtt"]).read_bytes() == ENGLISH
    assert "Grüße" in path_of(found["de.srt"]).read_text()
    for name, file in found.items():
        content = path_of(file).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), sha256(content).hexdigest())
        assert (file["sidecar"], file["language"]) == ("subtitles", name.split(".")[0])
    assert found["de.srt"]["mime_type"] == "application/x-subrip"
    assert list(missing_of(result)) == ["ja"]
    assert "en-US" in missing_of(result)["ja"]
    assert {"language": "es", "automatic": True} in [
        {name: each[name] for name in ("language", "automatic")}
        for each in result["video"]["subtitles"]
    ]


async def test_video_is_complete_without_the_subtitles_that_cannot_be_had(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    options = {"subtitles": ["all"], "automatic_subtitles": True}
    result = await client.request(vimeo(2), options=options, seconds=60)
    assert result["status"] == "completed", result
    found = subtitles_of(result)
    (escaped,) = [name for name in found if "~" in name]
    # The playlists of HLS and the files have no language in common.
    assert set(found) == {"en-US.vtt", "de.vtt", "fr.vtt", "pt-BR.vtt", "es-x-auto.vtt", escaped}
    assert found["es-x-auto.vtt"]["automatic"] is True
    missing = missing_of(result)
    assert missing.keys() == {"it", "nl", "sv", "da", "fi", "no"}
    assert "files.elsewhere.example" in missing["fi"]
    assert "platforms.vimeo.media_hosts" in missing["fi"]
    root = pipeline.data_dir / "files"
    assert all(path_of(each).resolve().is_relative_to(root) for each in result["files"])
    assert not [each for each in root.rglob("*") if "passwd" in each.name]


async def test_further_language_is_read_from_the_page_without_the_video(
    client: PipelineClient,
) -> None:
    first = await client.request(vimeo(3))
    assert client.request_counts(video_id("ok", serial=3))["page"] == 1
    second = await client.request(vimeo(3), options={"subtitles": ["fr"]})
    third = await client.request(vimeo(3), options={"subtitles": ["de", "fr"]})
    # The page that was read without subtitles is read again, and only once.
    assert client.request_counts(video_id("ok", serial=3))["page"] == 2
    assert [file["reused"] for file in second["files"]] == [True, False]
    assert subtitles_of(third)["fr.vtt"] == subtitles_of(second)["fr.vtt"] | {"reused": True}
    assert subtitles_of(third)["de.vtt"]["reused"] is False
    assert third["files"][0]["uri"] == first["files"][0]["uri"]


async def test_concurrent_requests_have_each_their_languages(client: PipelineClient) -> None:
    languages = [["en"], ["de", "fr"], ["fr", "en"], []]
    results = await asyncio.gather(
        *(client.request(vimeo(8), options={"subtitles": each}) for each in languages)
    )
    found = [[file["language"][:2] for file in subtitles_of(each).values()] for each in results]
    assert found == languages
    assert client.request_counts(video_id("ok", serial=8))["page"] <= 2


async def test_playlist_of_segments_becomes_a_file(client: PipelineClient) -> None:
    url = f"https://x.com/a/status/{video_id('ok', serial=4)}"
    options = {"subtitles": ["pt"], "subtitle_formats": ["srt"]}
    result = await client.request(url, options=options)
    assert result["status"] == "completed", result
    assert path_of(subtitles_of(result)["pt-BR.srt"]).read_text() == PORTUGUESE


async def test_automatic_captions_show_each_line_once(client: PipelineClient) -> None:
    url = f"https://youtu.be/{short_id(video_id('ok', serial=7))}"
    options = {"subtitles": ["en", "nl"], "automatic_subtitles": True}
    result = await client.request(url, options=options, seconds=60)
    assert result["status"] == "completed", result
    (file,) = subtitles_of(result).values()
    assert (file["language"], file["automatic"]) == ("en", True)
    assert path_of(file).read_text().splitlines()[3::3] == ["hello world", "next line"]
    assert "empty" in missing_of(result)["nl"]
    listed = [(each["language"], each["automatic"]) for each in result["video"]["subtitles"]]
    assert listed == [("nl", False), ("en", True)]


async def test_info_lists_the_subtitles_of_the_page(client: PipelineClient) -> None:
    options = {"subtitles": ["all"]}
    result = await client.request(vimeo(5), action="info", options=options)
    listed = [each["language"] for each in result["video"]["subtitles"]]
    assert listed[0] == "pt-BR"
    assert {"en-US", "de", "fr"} <= set(listed)
    assert json.dumps(result).count("token=") == 0


async def test_invalid_language_is_rejected_by_its_path(client: PipelineClient) -> None:
    result = await client.request(vimeo(6), options={"subtitles": ["en", "../en"]})
    assert result["status"] == "rejected"
    assert "$.options.subtitles[1]" in json.dumps(result["error"])


async def test_subtitles_of_a_template_survive_a_kill(tmp_path: Path) -> None:
    template = "{author}/{title:.40} [{platform} {id}].{format}.{ext}"
    async with PipelineProcess(tmp_path, CLIPMILL_STORAGE__PATH_TEMPLATE=template) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all")
        first = await client.request(vimeo(9), options={"subtitles": ["en"]})
        worker.kill()
        await pipeline.start_worker("all")
        second = await client.request(vimeo(9), options={"subtitles": ["en", "de"]}, seconds=60)
    assert list(subtitles_of(second)) == ["en-US.vtt", "de.vtt"]
    assert [file["reused"] for file in second["files"]] == [True, True, False]
    assert [file["uri"] for file in second["files"][:2]] == [each["uri"] for each in first["files"]]
    assert path_of(second["files"][2]).name.endswith("[vimeo 7000000000000000009].http-720p.de.vtt")
