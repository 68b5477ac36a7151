"""Failures of a real S3 server: the error code, the cause, and no secret in the text."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import obstore
import pytest
import pytest_asyncio
from obstore.store import S3Store

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage.object_store import ObjectStorage
from agents.storage.object_upload import Upload, Uploader
from schemas.errors import ClipmillError, ErrorCode
from tests.integration.test_storage_protocol import NAMES, publish
from tests.storage_servers import (
    READER_LOGIN,
    S3_LOGIN,
    WRITER_LOGIN,
    StorageServer,
    create_s3_bucket,
    free_ports,
    running,
    seaweedfs,
)

LARGE = 12 * 2**20
WRONG_SECRET = {**S3_LOGIN, "AWS_SECRET_ACCESS_KEY": "not the secret"}
WRONG_KEY = {**S3_LOGIN, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StorageServer]:
    async with running(seaweedfs(tmp_path_factory.mktemp("server"))) as server:
        await create_s3_bucket(server, "clips")
        yield server


@pytest.fixture
def settings(server: StorageServer) -> ObjectStoreSettings:
    return ObjectStoreSettings(
        url="s3://clips/media",
        endpoint=server.endpoint,
        region="eu-central-1",
        part_bytes=5 * 2**20,
        single_put_bytes=4 * 2**20,
        connect_seconds=1,
        request_seconds=1,
    )


Open = Callable[..., AbstractAsyncContextManager[ObjectStorage]]


@pytest.fixture
def open_s3(settings: ObjectStoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens the storage with a login, and with changed settings."""

    def open_storage(
        login: Mapping[str, str] = S3_LOGIN, **changes: str
    ) -> AbstractAsyncContextManager[ObjectStorage]:
        for name, value in login.items():
            monkeypatch.setenv(name, value)
        return ObjectStorage.open(msgspec.structs.replace(settings, **changes), tmp_path)

    return open_storage


@pytest.mark.parametrize("size", [1, LARGE])
@pytest.mark.parametrize(
    ("login", "cause"),
    [
        (WRONG_KEY, {"credentials_rejected"}),
        # The large file is looked for by a HEAD request, whose answer names no error.
        (WRONG_SECRET, {"credentials_rejected", "denied"}),
        (READER_LOGIN, {"denied"}),
    ],
)
async def test_login_without_permission_is_named_and_not_quoted(
    size: int,
    login: Mapping[str, str],
    cause: set[str],
    open_s3: Open,
) -> None:
    async with open_s3(login) as storage:
        for call in (publish(storage, bytes(size)), storage.probe()):
            with pytest.raises(ClipmillError) as caught:
                await call
            assert caught.value.code is ErrorCode.SYSTEM_STORAGE
            assert caught.value.details["cause"] in cause | {"denied"}
            assert not [each for each in login.values() if each in repr(caught.value)]


async def test_missing_bucket_is_named(
    open_s3: Open,
) -> None:
    async with open_s3(WRITER_LOGIN, url="s3://none/media") as storage:
        with pytest.raises(ClipmillError, match="the bucket does not exist") as caught:
            await storage.find(**NAMES)
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_closed_port_is_an_error_within_seconds(
    open_s3: Open,
) -> None:
    (port,) = free_ports(1)
    async with open_s3(endpoint=f"http://127.0.0.1:{port}") as storage:
        started = time.monotonic()
        with pytest.raises(ClipmillError, match="no connection") as caught:
            await publish(storage, b"x")
        assert time.monotonic() - started < 5
    assert caught.value.details["cause"] == "unreachable"


async def test_silent_server_is_a_timeout(
    open_s3: Open,
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with open_s3(endpoint=f"http://127.0.0.1:{port}") as storage:
            with pytest.raises(ClipmillError, match="did not answer in time") as caught:
                await publish(storage, b"x")
    assert caught.value.details["cause"] == "timeout"


async def test_server_without_tls_is_named(open_s3: Open, server: StorageServer) -> None:
    async with open_s3(endpoint=server.endpoint.replace("http:", "https:")) as storage:
        with pytest.raises(ClipmillError, match="it speaks no TLS"):
            await publish(storage, b"x")


async def test_cancelled_upload_is_invisible(
    open_s3: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {**NAMES, "video_id": "cancelled"}
    read_parts, begun = Uploader._parts, asyncio.Event()

    async def slow_parts(uploader: Uploader, upload: Upload) -> AsyncIterator[bytes]:
        async for part in read_parts(uploader, upload):
            yield part
            begun.set()
            await asyncio.sleep(0.1)

    monkeypatch.setattr(Uploader, "_parts", slow_parts)
    async with open_s3() as storage:
        upload = asyncio.ensure_future(publish(storage, bytes(4 * LARGE), video_id="cancelled"))
        await asyncio.wait_for(begun.wait(), 20)
        assert not upload.done()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await storage.find(**names) is None
        await publish(storage, bytes(LARGE), video_id="cancelled")
        found = await storage.find(**names)
    assert found is not None
    assert found.bytes == LARGE


async def test_object_has_its_digest_and_media_type(open_s3: Open, server: StorageServer) -> None:
    async with open_s3() as storage:
        for size, name in ((1, "small"), (LARGE, "large")):
            await publish(storage, bytes(size), video_id=name)
            store = S3Store(
                "clips",
                config={"endpoint": server.endpoint, "region": "eu-central-1"},
                client_options={"allow_http": True},
            )
            key = f"media/tiktok/{name}/{name}.play.mp4"
            found = await obstore.get_async(store, key, options={"head": True})
            assert found.attributes["Content-Type"] == "video/mp4"
            assert len(found.attributes["sha256"]) == 64


async def test_storage_works_again_after_an_outage(open_s3: Open, server: StorageServer) -> None:
    async with open_s3() as storage:
        uri = await publish(storage, b"before", video_id="outage")
        server.stop()
        with pytest.raises(ClipmillError) as caught:
            await storage.probe()
        assert caught.value.code is ErrorCode.SYSTEM_STORAGE
        await server.start()
        async with asyncio.timeout(30):
            while True:
                try:
                    await storage.probe()
                except ClipmillError:
                    await asyncio.sleep(0.5)
                else:
                    break
        assert await storage.stat(uri) == 6
        await publish(storage, b"after", video_id="after-outage")
