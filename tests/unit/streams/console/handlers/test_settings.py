"""The settings over HTTP: page and API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel

from streams.console.jobs.store import JobStore
from streams.console.server import build_console
from streams.history.store import HistoryStore
from streams.settings import Settings, setting_paths
from tests.unit.streams.console.consoles import TOKEN, running_console, services
from tests.unit.streams.console.test_pages import Links

pytestmark = pytest.mark.usefixtures("own_settings")


async def page_of(directory: Path, path: str) -> str:
    async with running_console(directory, token=TOKEN) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = await client.get(path, headers=headers)
        assert response.status == 200
        return Links(await response.text()).text


async def test_every_setting_is_shown_and_secrets_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("CLIPMILL_EGRESS__PROXY", "http://me:hunter2@127.0.0.1:3128")
    text = await page_of(tmp_path, "/settings")
    assert all(".".join(path) in text for path, _ in setting_paths())
    assert "hunter2" not in text
    assert TOKEN not in text
    assert "environment CLIPMILL_KAFKA__SASL_PASSWORD" in text


async def test_only_set_ones_are_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__PARTITIONS", "4")
    text = await page_of(tmp_path, "/settings?set=yes")
    assert "kafka.partitions" in text
    assert "kafka.replication_factor" not in text
    # The token of this console is an argument.
    assert "Not the default: 2" in text


async def test_unknown_parameter_is_rejected(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        assert (await client.get("/settings?all=yes")).status == 400


SECRET = "hunter2"


def secret_fields(model: type[BaseModel], *path: str) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the path of each setting of a secret type, and whether it is a table of them."""
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from secret_fields(kind, *path, name)
        elif "SecretStr" in str(kind):
            yield (*path, name), "dict" in str(kind)


SECRETS = dict(secret_fields(Settings))


def test_secret_settings_are_found() -> None:
    assert {("console", "token"), ("auth", "options"), ("cache", "redis_url")} <= SECRETS.keys()


@pytest.mark.parametrize("path", SECRETS, ids=".".join)
async def test_no_secret_leaves_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    value = f"redis://:{SECRET}@127.0.0.1" if path[-1].endswith("url") else f"{SECRET}-of-16-chars"
    text = json.dumps({"a": value}) if SECRETS[path] else value
    monkeypatch.setenv(f"CLIPMILL_{'__'.join(path)}".upper(), text)
    if path[-1] == "key_password":
        monkeypatch.setenv("CLIPMILL_KAFKA__SECURITY_PROTOCOL", "SSL")
        monkeypatch.setenv("CLIPMILL_KAFKA__CERT_FILE", str(tmp_path / "cert.pem"))
        monkeypatch.setenv("CLIPMILL_KAFKA__KEY_FILE", str(tmp_path / "key.pem"))
    settings = Settings()
    found: Any = settings
    for name in path:
        found = getattr(found, name)
    assert found
    headers = {"Authorization": f"Bearer {value}"}
    with (
        HistoryStore(tmp_path / "history.db") as store,
        JobStore(tmp_path / "console.db") as jobs,
    ):
        parts = services(store, jobs, settings=settings)
        async with TestClient(TestServer(build_console(parts))) as client:
            for target in ("/settings", "/api/v1/settings"):
                shown = await (await client.get(target, headers=headers)).text()
                assert ".".join(path) in shown
                assert SECRET not in shown


async def test_api_has_the_settings_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__PARTITIONS", "4")
    async with running_console(tmp_path) as client:
        everything = (await (await client.get("/api/v1/settings")).json())["settings"]
        own = (await (await client.get("/api/v1/settings?set=yes")).json())["settings"]
        unknown = await client.get("/api/v1/settings?all=yes")
    assert {each["name"] for each in everything} == {".".join(path) for path, _ in setting_paths()}
    assert unknown.status == 400
    (partitions,) = own
    assert partitions | {"description": ""} == {
        "name": "kafka.partitions",
        "value": "4",
        "is_set": True,
        "source": "environment CLIPMILL_KAFKA__PARTITIONS",
        "description": "",
    }
