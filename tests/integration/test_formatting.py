"""A data directory is formatted from cached feature levels as by Kafka's storage tool."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.record import MemoryRecords

from streams.broker.aot_cache import aot_cache_path
from streams.broker.broker import EmbeddedBroker
from streams.broker.config import LOG_DIR, Additions
from streams.broker.jars import default_cache_dir, ensure_jars
from streams.broker.log import BrokerLog
from streams.broker.preparation import BrokerOptions, format_once, prepare
from streams.file_lock import FileLock


@pytest.fixture
def options(tmp_path: Path) -> BrokerOptions:
    """Options with an empty cache of feature levels."""
    cache_dir = tmp_path / "cache"
    cache_dir.mkdir()
    (cache_dir / "kafka-jars").symlink_to(default_cache_dir() / "kafka-jars")
    return BrokerOptions(tmp_path / "a", cache_dir, None, None, 256)


async def formatted(options: BrokerOptions, *, java: bool = True) -> dict[str, str]:
    """Format a new directory; return its meta.properties."""
    options.data_dir.mkdir()
    lock = FileLock(options.data_dir / "lock")
    assert lock.try_acquire()
    try:
        launch, state = await prepare(options, lock.descriptor)
        launch = launch if java else replace(launch, command=["/bin/false"])
        log = BrokerLog(options.data_dir / "kafka.log")
        assert await format_once(launch, state.cluster_id, log)
    finally:
        lock.release()
    lines = (options.data_dir / LOG_DIR / "meta.properties").read_text().splitlines()
    meta = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert meta["cluster.id"] == state.cluster_id
    return meta


def feature_levels(directory: Path) -> list[tuple[bytes | None, bytes | None]]:
    """Return the records of the checkpoint; those of its control batches hold timestamps."""
    batches = MemoryRecords((directory / LOG_DIR / "bootstrap.checkpoint").read_bytes())
    found = []
    while (batch := batches.next_batch()) is not None:
        if not batch.is_control_batch:
            found += [(record.key, record.value) for record in batch]
    return found


async def test_second_directory_is_formatted_without_the_tool_and_alike(
    tmp_path: Path, options: BrokerOptions
) -> None:
    first = await formatted(options)
    second = await formatted(replace(options, data_dir=tmp_path / "b"), java=False)
    assert second.keys() == first.keys()
    assert (second["version"], second["node.id"]) == (first["version"], first["node.id"])
    assert second["cluster.id"] != first["cluster.id"]
    assert second["directory.id"] != first["directory.id"]
    levels = feature_levels(tmp_path / "a")
    assert len(levels) > 3
    assert feature_levels(tmp_path / "b") == levels


async def test_levels_of_further_properties_are_not_cached(options: BrokerOptions) -> None:
    await formatted(replace(options, additions=Additions(properties={"num.partitions": "7"})))
    assert [each.name for each in options.cache_dir.iterdir()] == ["kafka-jars"]


async def test_cache_that_cannot_be_written_fails_no_formatting(options: BrokerOptions) -> None:
    class_path = ensure_jars(options.cache_dir)
    aot_cache_path(options.cache_dir, class_path).with_suffix(".checkpoint").mkdir()
    await formatted(options)


async def test_kafka_starts_in_a_directory_formatted_from_the_cache(
    tmp_path: Path, options: BrokerOptions
) -> None:
    await formatted(options)
    directory = tmp_path / "b"
    await formatted(replace(options, data_dir=directory), java=False)
    async with EmbeddedBroker(directory, cache_dir=options.cache_dir) as broker:
        assert broker.bootstrap
