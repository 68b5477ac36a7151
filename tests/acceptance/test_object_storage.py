"""The pipeline with its files in S3: the sample, a kill in mid-upload, and an outage of the store.

With ``FULL_LENGTH=1`` the store is away for a minute.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from streams.topics import DEADLETTERS
from tests.acceptance.bucket import BUCKET, PART_BYTES, Bucket, s3_settings
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.scale import FULL
from tests.acceptance.stalling_proxy import StallingProxy
from tests.pipeline_process import PipelineProcess
from tests.sample.requests import EXPECTED, bodies, result_ids
from tests.standin import video_id
from tests.storage_servers import StorageServer, create_s3_bucket, running, seaweedfs

AWAY_SECONDS = 60.0 if FULL else 3.0
LARGE_MEBIBYTES = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StorageServer]:
    async with running(seaweedfs(tmp_path_factory.mktemp("server"))) as server:
        await create_s3_bucket(server, BUCKET)
        yield server


async def test_files_of_the_sample_are_in_the_bucket(server: StorageServer, tmp_path: Path) -> None:
    bucket = Bucket(server, tmp_path)
    async with PipelineProcess(tmp_path, **s3_settings(tmp_path, server.endpoint)) as pipeline:
        client = PipelineClient(pipeline)
        await pipeline.start_worker("all")
        for body in bodies():
            await pipeline.publish_raw(body)
        names = sorted(result_ids() - {"batch"})
        await client.wait_for(names, 90)
        results = await pipeline.read_results(0)
        statuses = {name: results[name][0]["status"] for name in names}
        assert statuses == {name: EXPECTED.get(name, "completed") for name in names}
        files = [file for name in names for file in results[name][0].get("files", ())]
        assert len(files) > 15
        keys = {await bucket.check(file) for file in files}
        assert keys <= set(await bucket.keys())
        assert not (pipeline.data_dir / "files").exists()
        again = await client.request(page(video_id(serial=1), "wanderer"))
        assert again["files"][0]["reused"]


async def test_kill_in_mid_upload_leaves_no_object_and_the_request_completes(
    server: StorageServer, tmp_path: Path
) -> None:
    bucket = Bucket(server, tmp_path)
    port = int(server.endpoint.rpartition(":")[2])
    async with StallingProxy(port) as proxy:
        variables = s3_settings(tmp_path, f"http://127.0.0.1:{proxy.port}")
        async with PipelineProcess(tmp_path, **variables) as pipeline:
            client, worker = PipelineClient(pipeline), await pipeline.start_worker("all")
            proxy.stall_after(3 * PART_BYTES)
            url = page(video_id("size", param=LARGE_MEBIBYTES, serial=1))
            await pipeline.publish({"id": "large", "url": url})
            async with asyncio.timeout(30):
                await proxy.stalled.wait()
            worker.kill()
            assert await bucket.keys() == []
            proxy.resume()
            await pipeline.start_worker("all")
            result = await client.outcome("large", 60)
            assert result["status"] == "completed"
            assert result["files"][0]["bytes"] == LARGE_MEBIBYTES * 2**20
            assert await bucket.keys() == [await bucket.check(result["files"][0])]


async def test_outage_of_the_store_pauses_downloads_and_loses_none(
    server: StorageServer, tmp_path: Path
) -> None:
    bucket = Bucket(server, tmp_path)
    async with PipelineProcess(tmp_path, **s3_settings(tmp_path, server.endpoint)) as pipeline:
        client, worker = PipelineClient(pipeline), await pipeline.start_worker("all")
        first = await client.request(page(video_id("kilobytes", serial=1)))
        assert first["status"] == "completed"
        server.stop()
        names = [f"r-{number}" for number in range(10)]
        for number, name in enumerate(names):
            url = page(video_id("kilobytes", serial=100 + number))
            await pipeline.publish({"id": name, "url": url})
        problem = await client.wait_for_problem(worker, "download")
        print(f"\nhealth says: {problem}")
        assert "no connection to the store" in problem
        await asyncio.sleep(AWAY_SECONDS)
        await server.start()
        await client.wait_for(names, 90)
        results = await pipeline.read_results(0)
        assert {results[name][0]["status"] for name in names} == {"completed"}
        assert {results[name][0]["attempts"] for name in names} == {1}
        assert await client.records(DEADLETTERS) == []
        for name in names:
            await bucket.check(results[name][0]["files"][0])
