from pathlib import Path

from streams.console.file_links import find_link
from streams.settings import Settings, StorageSettings


async def test_link_is_that_of_an_installed_entry_point(tmp_path: Path) -> None:
    storage = StorageSettings(public_url_prefix="https://media.example.org")
    settings = Settings(data_dir=tmp_path, storage=storage)
    uri = (tmp_path / "files" / "a.mp4").as_uri()
    assert await find_link(settings, uri) == "https://media.example.org/a.mp4"
    assert await find_link(settings, "s3://clips/a.mp4") is None
