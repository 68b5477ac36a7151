"""Files under paths of a template, with sidecars and embedded metadata."""

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import pytest
import pytest_asyncio

from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATE = "{author}/{date:%Y}/{date:%Y-%m-%d} {title:.80} [{platform} {id}].{format}.{ext}"
OPTIONS = {"sidecars": ["info", "thumbnail", "nfo"], "embed_metadata": True}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    variables = {"CLIPMILL_STORAGE__PATH_TEMPLATE": TEMPLATE}
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **variables) as opened:
        await opened.start_worker("all")
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(pipeline: PipelineProcess) -> PipelineClient:
    return PipelineClient(pipeline)


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


async def test_video_has_its_sidecars_and_metadata(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    video = video_id(serial=1)
    result = await client.request(page(video), options=OPTIONS)
    assert [each.get("sidecar") for each in result["files"]] == [None, "thumbnail", "info", "nfo"]
    paths = [path_of(each) for each in result["files"]]
    media, thumbnail, info, nfo = paths
    author, year, name = media.relative_to(pipeline.data_dir / "files").parts
    assert author == result["video"]["author"]["name"]
    assert name.startswith(f"{year}-")
    assert f" [tiktok {video}]." in name
    stem = media.name.removesuffix(".mp4")
    names = [f"{stem}.mp4", f"{stem}-thumb{thumbnail.suffix}", f"{stem}.json", f"{stem}.nfo"]
    assert [each.name for each in paths] == names
    for file, path in zip(result["files"], paths, strict=True):
        assert sha256(path.read_bytes()).hexdigest() == file["sha256"]
    assert json.loads(info.read_bytes())["title"] == result["video"]["title"]
    assert b"<uniqueid" in nfo.read_bytes()
    with av.open(str(media)) as container:
        assert container.metadata["title"] == result["video"]["title"]
        assert container.metadata["comment"] == result["video"]["url"]


async def test_file_of_a_template_is_reused(client: PipelineClient) -> None:
    first = await client.request(page(video_id(serial=2)))
    again = await client.request(page(video_id(serial=2)))
    assert again["files"] == [{**first["files"][0], "reused": True}]
