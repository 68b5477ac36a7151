import importlib.util
from pathlib import Path

import pytest
from obstore.store import S3Store

from agents.access.metered_storage import MeteredStorage
from agents.access.storage import open_storage
from agents.storage import LocalStorage, Storage
from agents.storage.object_store import ObjectStorage
from schemas.errors import ClipmillError, ErrorCode
from streams.settings import EgressSettings, Settings, StorageSettings
from tests.unit.agents.builders import make_settings


def settings(folder: Path, **values: str | Path) -> Settings:
    storage = StorageSettings.model_validate({"url": "s3://clips/media", **values})
    egress = EgressSettings(proxy="http://proxy.example:3128")
    return make_settings(data_dir=folder, storage=storage, egress=egress)


def measured(storage: Storage) -> Storage:
    assert isinstance(storage, MeteredStorage)
    return storage._storage


async def test_storage_without_a_url_is_the_data_directory(tmp_path: Path) -> None:
    async with open_storage(make_settings(data_dir=tmp_path)) as storage:
        assert isinstance(measured(storage), LocalStorage)
    assert (tmp_path / "files").is_dir()


async def test_storage_with_a_url_is_the_object_store(tmp_path: Path) -> None:
    async with open_storage(settings(tmp_path)) as storage:
        assert isinstance(measured(storage), ObjectStorage)
        async with storage.workspace() as directory:
            assert directory.is_relative_to(tmp_path / "tmp")
    assert not (tmp_path / "files").exists()


async def test_egress_proxy_is_not_used_for_the_store(tmp_path: Path) -> None:
    async with open_storage(settings(tmp_path)) as storage:
        found = measured(storage)
        assert isinstance(found, ObjectStorage)
        assert isinstance(found._store, S3Store)
        assert "proxy_url" not in (found._store.client_options or {})


async def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClipmillError, match=r"clipmill\[objects\]") as caught:
        async with open_storage(settings(tmp_path)):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_unusable_ca_file_is_a_config_error(tmp_path: Path, content: str | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(ClipmillError) as caught:
        async with open_storage(settings(tmp_path, ca_file=ca_file)):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
