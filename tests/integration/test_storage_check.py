import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import obstore
import pytest
import pytest_asyncio
from click.testing import CliRunner
from obstore.store import S3Store

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check.cli import check_storage, storage
from agents.storage_check.open_uploads import list_open_uploads
from agents.storage_check.report import CheckState, StorageReport
from agents.storage_check.s3_requests import Login
from streams.settings import Settings
from tests.storage_servers import (
    READER_LOGIN,
    S3_LOGIN,
    StorageServer,
    create_s3_bucket,
    running,
    seaweedfs,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StorageServer]:
    async with running(seaweedfs(tmp_path_factory.mktemp("server"))) as server:
        await create_s3_bucket(server, "clips")
        yield server


@pytest.fixture
def settings(server: StorageServer, tmp_path: Path) -> Settings:
    storage = {"url": "s3://clips/media", "endpoint": server.endpoint, "region": "eu-central-1"}
    values: Any = {"data_dir": tmp_path, "storage": storage}
    return Settings(**values)


def log_in(login: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in login.items():
        monkeypatch.setenv(name, value)


def states(report: StorageReport) -> dict[str, CheckState]:
    return {each.name: each.state for each in report.checks}


async def test_working_store_passes_and_nothing_remains(
    settings: Settings, server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(S3_LOGIN, monkeypatch)
    report = await check_storage(settings)
    assert report.healthy
    assert report.storage == "s3://clips/media"
    assert states(report) == {
        "put an object": CheckState.OK,
        "create only": CheckState.OK,
        "replace one version only": CheckState.OK,
        "put an object in parts": CheckState.OK,
        "read a range": CheckState.OK,
        "list a folder": CheckState.OK,
        "delete": CheckState.OK,
        "rule for interrupted uploads": CheckState.WARNING,
    }
    assert "there is none" in report.checks[-1].text
    store = S3Store(
        "clips",
        config={"endpoint": server.endpoint, "region": "eu-central-1"},
        client_options={"allow_http": True},
    )
    assert await obstore.list(store).collect_async() == []


async def test_login_without_permission_fails_at_the_first_write(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(READER_LOGIN, monkeypatch)
    report = await check_storage(settings)
    assert not report.healthy
    assert states(report) == {"put an object": CheckState.FAILED}
    assert "access is denied" in report.checks[0].text


async def test_directory_is_checked_by_its_probe(tmp_path: Path) -> None:
    report = await check_storage(Settings(data_dir=tmp_path))
    assert report.healthy
    assert states(report) == {"write and remove a file": CheckState.OK}


async def test_unusable_directory_fails(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file")
    report = await check_storage(Settings(data_dir=tmp_path))
    assert not report.healthy


async def cancelled_upload(store: S3Store) -> None:
    started = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield bytes(5 * 2**20)
        started.set()
        await asyncio.Event().wait()

    upload = asyncio.ensure_future(
        obstore.put_async(store, "media/a b.mp4", parts(), chunk_size=5 * 2**20)
    )
    await started.wait()
    await asyncio.sleep(0.3)
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)


async def test_parts_of_a_cancelled_upload_are_listed_and_removed(
    server: StorageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(S3_LOGIN, monkeypatch)
    monkeypatch.chdir(tmp_path)
    variables = {
        "CLIPMILL_STORAGE__URL": "s3://clips/media",
        "CLIPMILL_STORAGE__ENDPOINT": server.endpoint,
        "CLIPMILL_STORAGE__REGION": "eu-central-1",
    }
    log_in(variables, monkeypatch)
    await cancelled_upload(
        S3Store(
            "clips",
            config={"endpoint": server.endpoint, "region": "eu-central-1"},
            client_options={"allow_http": True},
        )
    )
    settings = ObjectStoreSettings(
        url="s3://clips/media", endpoint=server.endpoint, region="eu-central-1"
    )
    login = Login(*S3_LOGIN.values())

    def listed() -> list[str]:
        return [each.key for each in list_open_uploads(settings, login)]

    def run(*options: str) -> str:
        result = CliRunner().invoke(storage, ["uploads", *options])
        assert result.exit_code == 0, result.output
        return result.output

    assert await asyncio.to_thread(listed) == ["media/a b.mp4"]
    assert (await asyncio.to_thread(run, "--remove")).startswith("0 uploads"), "it is young"
    # SeaweedFS reports whole seconds.
    await asyncio.sleep(1.1)
    assert "media/a b.mp4\n1 uploads\n" in await asyncio.to_thread(run, "--before", "1s")
    assert "1 uploads removed" in await asyncio.to_thread(run, "--before", "1s", "--remove")
    assert await asyncio.to_thread(listed) == []
