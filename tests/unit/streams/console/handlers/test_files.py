"""Files of requests, over HTTP."""

from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from streams.console.handlers import files
from streams.console.handlers.files import find_file, find_link
from streams.history.changes import HistoryFile, RequestChange
from streams.settings import Settings, StorageSettings
from tests.unit.streams.console.consoles import CHANGES, running_console


def with_file(uri: str, mime_type: str = "video/mp4") -> RequestChange:
    file = HistoryFile(uri=uri, bytes=10, mime_type=mime_type)
    return replace(CHANGES[0], files=(file,))


def stored(directory: Path, name: str = "7 \N{LATIN SMALL LETTER E WITH ACUTE}.mp4") -> Path:
    path = directory / "data" / "files" / "tiktok" / "7" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPMILL_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


async def test_file_is_an_attachment_under_its_name(data_dir: Path) -> None:
    path = stored(data_dir)
    async with running_console(data_dir, with_file(path.as_uri())) as client:
        response = await client.get("/file?id=done&n=0")
        assert await response.read() == b"0123456789"
    assert response.content_type == "video/mp4"
    name = quote(path.name)
    assert response.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{name}"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_range_of_a_file_is_sent_for_a_player(data_dir: Path) -> None:
    async with running_console(data_dir, with_file(stored(data_dir).as_uri())) as client:
        response = await client.get("/file?id=done&inline", headers={"Range": "bytes=2-4"})
        assert (response.status, await response.read()) == (206, b"234")
    assert response.headers["Content-Range"] == "bytes 2-4/10"
    assert response.headers["Content-Disposition"].startswith("inline;")


@pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml", "application/pdf", ""])
async def test_type_that_a_browser_would_run_is_an_attachment(
    data_dir: Path, mime_type: str
) -> None:
    change = with_file(stored(data_dir).as_uri(), mime_type)
    async with running_console(data_dir, change) as client:
        response = await client.get("/file?id=done&inline")
    assert response.content_type == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize("mime_type", ["text/vtt", "application/x-subrip"])
async def test_subtitles_keep_their_type_as_an_attachment(data_dir: Path, mime_type: str) -> None:
    change = with_file(stored(data_dir, "7.en.vtt").as_uri(), mime_type)
    async with running_console(data_dir, change) as client:
        response = await client.get("/file?id=done&inline")
        page = await (await client.get("/request?id=done")).text()
    assert response.content_type == mime_type
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''7.en.vtt"
    assert f"download>7.en.vtt</a> <small>{mime_type}" in page


@pytest.mark.parametrize(
    "query", ["id=done&n=1", "id=done&n=-1", "id=done&n=x", "id=done&n=00", "id=nobody", ""]
)
async def test_unknown_file_is_not_found(data_dir: Path, query: str) -> None:
    async with running_console(data_dir, with_file(stored(data_dir).as_uri())) as client:
        assert (await client.get(f"/file?{query}")).status == 404


async def test_removed_file_is_gone(data_dir: Path) -> None:
    path = stored(data_dir)
    async with running_console(data_dir, with_file(path.as_uri())) as client:
        path.unlink()
        response = await client.get("/file?id=done")
        assert response.status == 410
        assert "is not in the storage of this host" in await response.text()


async def test_page_of_a_request_shows_its_files(data_dir: Path) -> None:
    async with running_console(data_dir, with_file(stored(data_dir).as_uri())) as client:
        page = await (await client.get("/request?id=done")).text()
    assert '<video controls preload="metadata" src="file?id=done&amp;n=0&amp;inline"' in page


def test_only_a_regular_file_below_the_root_is_found(tmp_path: Path) -> None:
    path = stored(tmp_path, "a.mp4")
    root, outside = tmp_path / "data" / "files", tmp_path / "secret"
    outside.write_text("x")
    (path.parent / "link.mp4").symlink_to(outside)
    assert find_file(root, path.as_uri()) == path
    assert find_file(root, f"file://localhost{path}") == path
    for uri in (
        outside.as_uri(),
        (path.parent / "link.mp4").as_uri(),
        f"{root.as_uri()}/%2e%2e/%2e%2e/secret",
        path.parent.as_uri(),
        f"file://host{path}",
        f"s3://{path}",
        str(path),
        "file:///\x00",
        f"{path.as_uri()}%00",
        "file://[",
        "",
    ):
        assert find_file(root, uri) is None, uri


async def test_file_in_an_object_store_is_redirected_to(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_link(_: Settings, uri: str) -> str | None:
        return f"https://media.example.org/{uri[5:]}" if uri.startswith("s3://") else None

    monkeypatch.setattr(files, "find_link", find_link)
    async with running_console(data_dir, with_file("s3://clips/7.mp4")) as client:
        response = await client.get("/file?id=done", allow_redirects=False)
    assert response.status == 302
    assert response.headers["Location"] == "https://media.example.org/clips/7.mp4"
    assert response.headers["Cache-Control"] == "no-store"


async def test_link_is_that_of_an_installed_entry_point(tmp_path: Path) -> None:
    storage = StorageSettings(public_url_prefix="https://media.example.org")
    settings = Settings(data_dir=tmp_path, storage=storage)
    uri = (tmp_path / "files" / "a.mp4").as_uri()
    assert await find_link(settings, uri) == "https://media.example.org/a.mp4"
    assert await find_link(settings, "s3://clips/a.mp4") is None
