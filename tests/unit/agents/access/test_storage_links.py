from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agents.access.storage import file_link, public_url
from streams.settings import Settings, StorageSettings
from tests.unit.agents.builders import make_settings

S3 = "s3://clips/media"
KEY = "tiktok/7/7.play.mp4"
PREFIX = "https://media.example.org/x"


def settings(data_dir: Path = Path("/data"), **storage: Any) -> Settings:
    return make_settings(data_dir=data_dir, storage=StorageSettings(**storage))


@pytest.mark.parametrize(
    ("storage", "uri", "expected"),
    [
        ({"url": S3, "public_url_prefix": f"{PREFIX}/"}, f"{S3}/{KEY}", f"{PREFIX}/{KEY}"),
        ({"url": S3, "public_url_prefix": PREFIX}, f"{S3}/a b/ä", f"{PREFIX}/a%20b/%C3%A4"),
        ({"url": S3, "public_url_prefix": PREFIX}, f"s3://clips/other/{KEY}", None),
        ({"url": S3, "public_url_prefix": PREFIX}, f"{S3}/../other/x", None),
        ({"url": S3, "public_url_prefix": PREFIX}, f"file:///data/files/{KEY}", None),
        ({"url": S3}, f"{S3}/{KEY}", None),
        ({"public_url_prefix": PREFIX}, f"file:///data/files/{KEY}", f"{PREFIX}/{KEY}"),
        ({"public_url_prefix": PREFIX}, f"file:///etc/{KEY}", None),
        ({}, f"file:///data/files/{KEY}", None),
    ],
)
def test_public_url_is_the_prefix_and_the_path_below_the_storage(
    storage: dict[str, Any], uri: str, expected: str | None
) -> None:
    assert public_url(settings(**storage), uri) == expected


@pytest.fixture
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")


@pytest.mark.usefixtures("_login")
async def test_link_to_an_object_is_signed() -> None:
    link = await file_link(
        settings(url=S3, endpoint="http://127.0.0.1:1", region="eu-central-1"), f"{S3}/{KEY}"
    )
    assert link is not None
    assert link.startswith(f"http://127.0.0.1:1/clips/media/{KEY}?")
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["900"]
    assert "secret" not in link


async def test_public_url_goes_before_a_signed_link() -> None:
    found = await file_link(settings(url=S3, public_url_prefix=PREFIX), f"{S3}/{KEY}")
    assert found == f"{PREFIX}/{KEY}"


@pytest.mark.parametrize("uri", [f"s3://other/{KEY}", "file:///data/files/x", ""])
async def test_foreign_file_has_no_link(uri: str) -> None:
    assert await file_link(settings(url=S3), uri) is None


async def test_file_on_disk_has_no_link_without_a_prefix() -> None:
    assert await file_link(settings(), f"file:///data/files/{KEY}") is None
