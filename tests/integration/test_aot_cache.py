"""Java's AOT cache with a real Kafka: made once, used by every server, never a condition."""

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


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in range(1 << 20, len(content), 1 << 20):
        content[place] ^= 0xFF
    file.write_bytes(content)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    """A cache directory that has the jars and no AOT cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "kafka-jars").symlink_to(default_cache_dir() / "kafka-jars")
    return folder


async def test_a_server_uses_the_cache_until_it_is_damaged(tmp_path: Path, cache_dir: Path) -> None:
    cache = await create_aot_cache(cache_dir)
    written = cache.stat().st_mtime_ns
    assert await create_aot_cache(cache_dir) == cache
    assert cache.stat().st_mtime_ns == written, "what is there is not created again"
    assert contents(cache_dir) == {cache.name, "kafka-jars"}
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) == str(cache)
        log = (tmp_path / "kafka" / "kafka.log").read_text()
        assert "aot" not in log
    damage(cache)
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) is None


async def test_a_server_starts_without_a_cache(tmp_path: Path, cache_dir: Path) -> None:
    async with EmbeddedBroker(tmp_path / "kafka", cache_dir=cache_dir) as broker:
        assert mapped_cache(broker) is None
