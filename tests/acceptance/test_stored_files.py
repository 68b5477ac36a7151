"""Stored files through the pipeline: adoption, removal by hand, retention, and equal files."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from agents.download.retention import PROTECTED_SECONDS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.test_clocks import Clock
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id
from tests.storage_servers import S3_LOGIN, StorageServer, create_s3_bucket, running, seaweedfs

BUCKET = "clips"
FILES = 150

RETENTION = {
    "CLIPMILL_STORAGE__RETENTION__BYTES": "150000",
    "CLIPMILL_STORAGE__RETENTION__CHECK_SECONDS": "0.5",
    "CLIPMILL_STORAGE__RETENTION__ATTRIBUTE": "customer",
    "CLIPMILL_STORAGE__RETENTION__REQUESTERS": '{"acme": {"days": 365}}',
    "CLIPMILL_STORAGE__RETENTION__PLATFORMS": '{"tiktok": {"days": 0.042}}',
}
"""Two files of 64 KiB; those of TikTok for an hour, those of a customer for a year."""

Stored = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StorageServer]:
    async with running(seaweedfs(tmp_path_factory.mktemp("server"))) as server:
        await create_s3_bucket(server, BUCKET)
        yield server


def variables(kind: str, server: StorageServer, folder: Path) -> dict[str, str]:
    if kind == "disk":
        return {}
    return {
        **S3_LOGIN,
        "CLIPMILL_STORAGE__URL": f"s3://{BUCKET}/{folder.name}",
        "CLIPMILL_STORAGE__ENDPOINT": server.endpoint,
        "CLIPMILL_STORAGE__REGION": "eu-central-1",
    }


async def run_json(pipeline: PipelineProcess, *arguments: str) -> list[dict[str, Any]]:
    status, output, errors = await pipeline.clipmill(*arguments, "--json")
    assert status == 0, errors
    return [json.loads(line) for line in output.splitlines()]


async def run(pipeline: PipelineProcess, *arguments: str) -> list[str]:
    status, output, errors = await pipeline.clipmill(*arguments)
    assert status == 0, errors
    return output.splitlines()


async def download(client: PipelineClient, video: str, **fields: Any) -> Stored:
    """Return the file of a request that completes."""
    result = await client.request(page(video), **fields)
    assert result["status"] == "completed", result
    file: Stored = result["files"][0]
    return file


async def save_as_ytdlp(source: Path, folder: Path, video: str) -> None:
    """Write a file as yt-dlp names it, with its info file."""
    await asyncio.to_thread(shutil.copyfile, source, folder / f"a clip [{video}].mp4")
    info = {"webpage_url": page(video), "title": "a clip", "uploader": "user"}
    (folder / f"a clip [{video}].info.json").write_text(json.dumps(info))


def count_videos(folder: Path) -> int:
    return sum(it.suffix == ".mp4" for it in folder.iterdir())


async def wait_for_videos(folder: Path, count: int) -> None:
    """Wait until no more videos are left."""
    async with asyncio.timeout(30):
        while True:
            if count_videos(folder) <= count:
                return
            await asyncio.sleep(0.002)


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


@pytest.mark.parametrize("kind", ["disk", "s3"])
async def test_adopted_and_removed_posts_are_not_downloaded(
    kind: str, server: StorageServer, tmp_path: Path
) -> None:
    first, absent = (video_id("kilobytes", serial=serial) for serial in (1, 2))
    folder = tmp_path / "old"
    folder.mkdir()
    settings = variables(kind, server, tmp_path)
    elsewhere = {
        "CLIPMILL_DATA_DIR": str(tmp_path / "elsewhere"),
        **dict.fromkeys(settings.keys() - S3_LOGIN.keys(), ""),
    }
    async with PipelineProcess(tmp_path, **settings) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all", **elsewhere)
        source = path_of((await download(client, first))["uri"])
        worker.kill()
        await save_as_ytdlp(source, folder, first)
        archive = tmp_path / "archive.txt"
        archive.write_text(f"tiktok {first}\ntiktok {absent}\n")
        *_, counts = await run_json(
            pipeline, "files", "adopt", str(folder), "--archive", str(archive)
        )
        assert (counts["adopted"], counts["known"]) == (1, 1)

        await pipeline.start_worker("all")
        before = client.request_counts(first)
        file = await download(client, first)
        assert (file["reused"], file["format_id"]) == (True, "adopted")
        assert file["uri"].endswith(f"/tiktok/{first}/{first}.adopted.mp4")
        assert client.request_counts(first).get("media") == before.get("media")
        await check_withheld(client, absent, "download archive")

        (uri, removed) = await run(pipeline, "files", "remove", page(first))
        assert (uri, removed) == (file["uri"], f"tiktok:{first}: 1 files of 65536 bytes removed")
        assert await run(pipeline, "files", "list") == []
        await check_withheld(client, first, "removed on")
        fresh = await download(client, first, options={"refresh": True})
        assert not fresh["reused"]
        assert (await download(client, first))["reused"]
        await run(pipeline, "files", "remove", f"tiktok:{first}", "--forget")
        assert not (await download(client, first))["reused"]


async def check_withheld(client: PipelineClient, video: str, reason: str) -> None:
    result = await client.request(page(video))
    assert result["status"] == "failed"
    assert result["error"]["error_type"] == "content.withheld"
    assert reason in result["error"]["user_message"]
    assert result["attempts"] == 1


async def test_equal_files_share_their_bytes_on_a_disk(tmp_path: Path) -> None:
    first, second = (video_id("kilobytes", serial=serial) for serial in (1, 2))
    folder = tmp_path / "old"
    folder.mkdir()
    async with PipelineProcess(tmp_path) as pipeline:
        client = PipelineClient(pipeline)
        await pipeline.start_worker("all")
        source = path_of((await download(client, first))["uri"])
        await save_as_ytdlp(source, folder, second)
        await run(pipeline, "files", "adopt", str(folder), "--move")
        adopted = await download(client, second)
        assert path_of(adopted["uri"]).samefile(source)
        await run(pipeline, "files", "remove", f"tiktok:{first}", "--forget")
        assert path_of(adopted["uri"]).stat().st_size == adopted["bytes"]
        again = await download(client, first)
        assert (again["reused"], again["duplicate_of"]) == (False, adopted["uri"])
        assert path_of(again["uri"]).samefile(path_of(adopted["uri"]))
        lines = await run(pipeline, "files", "verify")
        assert lines == ["2 ok, 0 damaged, 0 unknown, 0 gone"]


async def test_killed_adoption_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    async with PipelineProcess(tmp_path) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all")
        seed = await download(client, video_id("kilobytes", serial=1))
        worker.kill()
        source = path_of(seed["uri"])
        content = source.read_bytes()
        videos = [video_id("kilobytes", serial=100 + number) for number in range(FILES)]
        for number, video in enumerate(videos):
            await save_as_ytdlp(source, folder, video)
            with (folder / f"a clip [{video}].mp4").open("ab") as file:
                file.write(bytes(number))
        for _ in range(3):
            before = count_videos(folder)
            child = await pipeline.start_clipmill("files", "adopt", str(folder), "--move")
            await wait_for_videos(folder, before - 5)
            child.kill()
            await child.communicate()
        left = count_videos(folder)
        assert left
        *_, counts = await run_json(pipeline, "files", "adopt", str(folder), "--move")
        print(f"\n{FILES} files, three kills, {left} left; the last run says {counts}")
        assert (counts["refused"], counts["adopted"] + counts["stored"]) == (0, left)
        assert count_videos(folder) == 0
        stored = {path_of(it["uri"]) for it in await run_json(pipeline, "files", "list")}
        assert {it.parent.name for it in stored} == {seed["uri"].split("/")[-2], *videos}
        assert all(path.read_bytes()[: len(content)] == content for path in stored)
        assert (await run(pipeline, "files", "verify"))[-1].startswith(f"{FILES + 1} ok, 0 damaged")
        assert not [it for it in (tmp_path / "data/tmp").iterdir() if any(it.iterdir())]


@pytest.mark.parametrize("kind", ["disk", "s3"])
async def test_retention_removes_what_may_be_downloaded_again(
    kind: str, server: StorageServer, tmp_path: Path
) -> None:
    """The file of another customer is too old, and the oldest of this one is beyond the size."""
    settings = variables(kind, server, tmp_path) | RETENTION
    clock = Clock(tmp_path / "clock")
    settings |= clock.variables
    settings["PYTHONPATH"] = os.pathsep.join([settings["PYTHONPATH"], *sys.path])
    videos = [video_id("kilobytes", serial=number) for number in range(1, 5)]
    async with PipelineProcess(tmp_path, **settings) as pipeline:
        client = PipelineClient(pipeline)
        await pipeline.start_worker("all")
        files = []
        for video, customer in zip(videos, ("other", "acme", "acme", "acme"), strict=True):
            files.append(await download(client, video, attributes={"customer": customer}))
            await asyncio.sleep(1.1)  # Object stores report whole seconds.
        await asyncio.sleep(2)
        assert len(await run_json(pipeline, "files", "list")) == 4
        clock.set(PROTECTED_SECONDS + 100)
        async with asyncio.timeout(30):
            listed = files
            while len(listed) > 2:
                listed = await run_json(pipeline, "files", "list")
        assert {it["uri"] for it in listed} == {it["uri"] for it in files[2:]}
        assert not (await download(client, videos[0]))["reused"]
