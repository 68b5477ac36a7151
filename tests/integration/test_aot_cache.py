"""Java's AOT cache with a real Kafka: created once, used by every server, always optional."""

from pathlib import Path

import pytest

from streams.broker.__main__ import create_aot_cache
from streams.broker.broker import EmbeddedBroker
from streams.broker.jars import default_cache_dir


def mapped_cache(broker: EmbeddedBroker) -> str | None:
    maps = Path(f"/proc/{broker.pid}/maps").read_text()
    return next((line.split()[-1] for line in maps.splitlines() if line.endswith(".aot")), None)


def contents(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for position in range(1 << 20, len(content), 1 << 20):
        content[position] ^= 0xFF
    file.write_bytes(content)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    """A cache directory with the jars and without an AOT cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "kafka-jars").symlink_to(default_cache_dir() / "kafka-jars")
    return folder


async def test_server_uses_the_cache_unless_it_is_corrupt(tmp_path: Path, cache_dir: Path) -> None:
    cache = await create_aot_cache(cache_dir)
    written = cache.stat().st_mtime_ns
    assert await create_aot_cache(cache_dir) == cache
    assert cache.stat().st_mtime_ns == written, "an existing cache is not created again"
    checkpoint = cache.with_suffix(".checkpoint").name
    assert contents(cache_dir) == {cache.name, checkpoint, "kafka-jars"}
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) == str(cache)
        log = (tmp_path / "kafka" / "kafka.log").read_text()
        assert "aot" not in log
    corrupt(cache)
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) is None


async def test_server_starts_without_a_cache(tmp_path: Path, cache_dir: Path) -> None:
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) is None
