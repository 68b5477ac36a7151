"""The page of the settings, over HTTP."""

from pathlib import Path

import pytest

from streams.settings import setting_paths
from tests.unit.streams.console.consoles import TOKEN, running_console
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
