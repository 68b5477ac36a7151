"""The pipeline with its files in S3: the sample, a kill in mid-upload, and an outage of the store.

With ``FULL_LENGTH=1`` the store is away for a minute.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import obstore
import pytest
import pytest_asyncio
from obstore.store import S3Store

from streams.topics import DEADLETTERS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.scale import FULL
from tests.acceptance.stalling_proxy import StallingProxy
from tests.pipeline_process import PipelineProcess
from tests.sample.requests import EXPECTED, bodies, result_ids
from tests.standin import video_id
from tests.storage_servers import S3_LOGIN, StorageServer, create_s3_bucket, running, seaweedfs

BUCKET = "clips"
AWAY_SECONDS = 60.0 if FULL else 3.0
LARGE_MEBIBYTES = 40
PART_BYTES = 5 * 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StorageServer]:
    async with running(seaweedfs(tmp_path_factory.mktemp("server"))) as server:
        await create_s3_bucket(server, BUCKET)
        yield server


def settings(folder: Path, endpoint: str) -> dict[str, str]:
    """Return the variables of a pipeline whose prefix is the folder's name."""
    return {
        **S3_LOGIN,
        "CLIPMILL_STORAGE__URL": f"s3://{BUCKET}/{folder.name}",
        "CLIPMILL_STORAGE__ENDPOINT": endpoint,
        "CLIPMILL_STORAGE__REGION": "eu-central-1",
        "CLIPMILL_STORAGE__PART_BYTES": str(PART_BYTES),
        "CLIPMILL_STORAGE__SINGLE_PUT_BYTES": str(PART_BYTES),
        "CLIPMILL_DOWNLOAD__STORAGE_CHECK_SECONDS": "0.5",
        "CLIPMILL_RETRY__WAITS_SECONDS": json.dumps({"network.server": [2, 4]}),
        "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    }


class Bucket:
    """What a client sees below the prefix of a pipeline."""

    def __init__(self, server: StorageServer, folder: Path) -> None:
        self._url = f"s3://{BUCKET}/{folder.name}"
        key, secret = S3_LOGIN.values()
        self._store = S3Store(
            BUCKET,
            prefix=folder.name,
            config={
                "endpoint": server.endpoint,
                "region": "eu-central-1",
                "access_key_id": key,
                "secret_access_key": secret,
            },
            client_options={"allow_http": True},
        )

    async def keys(self) -> list[str]:
        listed = await obstore.list(self._store).collect_async()
        return sorted(each["path"] for each in listed)

    async def check(self, file: dict[str, Any]) -> str:
        """Check that the file of a result is there as it is described; return its key."""
        key: str = file["uri"].removeprefix(f"{self._url}/")
        found = await obstore.get_async(self._store, key)
        content = bytes(await found.bytes_async())
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert found.attributes["sha256"] == file["sha256"]
        assert found.attributes["Content-Type"] == file["mime_type"]
        return key


async def test_files_of_the_sample_are_in_the_bucket(server: StorageServer, tmp_path: Path) -> None:
    bucket = Bucket(server, tmp_path)
    async with PipelineProcess(tmp_path, **settings(tmp_path, server.endpoint)) as pipeline:
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
        variables = settings(tmp_path, f"http://127.0.0.1:{proxy.port}")
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
    async with PipelineProcess(tmp_path, **settings(tmp_path, server.endpoint)) as pipeline:
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
