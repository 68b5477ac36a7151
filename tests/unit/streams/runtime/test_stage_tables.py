"""The tables of a stage without a broker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.errors import StageFailedError
from streams.faust_driver.app import build_app, group_dir
from streams.faust_driver.static_member import StaticMember
from streams.observability.metrics import REGISTRY
from streams.runtime.stage_tables import StageTables
from streams.settings import Settings
from streams.stage import Stage
from streams.state_stores import InMemoryStore, RowFields
from streams.state_stores.rocksdb import RocksDbStore
from streams.topics import REQUESTS

pytestmark = pytest.mark.usefixtures("own_settings")

NEVER = RowFields(expires_at=lambda _row: 0.0)


def make_tables(tmp_path: Path, lease: str | None = "instance-0") -> StageTables:
    stage: Any = Stage(
        "toy",
        (REQUESTS,),
        open=None,  # type: ignore[arg-type]
        on_bug=lambda *_: (),
        tables=("small", "large"),
        indexes={"large": NEVER},
    )
    settings = Settings(data_dir=tmp_path)
    return StageTables(stage, build_app("toy", settings, StaticMember()), settings, lease)


async def test_table_is_on_disk_if_the_stage_declares_an_index(tmp_path: Path) -> None:
    tables = make_tables(tmp_path)
    assert (list(tables.by_name), list(tables.indexed)) == (["small", "large"], ["large"])
    directory = group_dir("toy", Settings(data_dir=tmp_path)) / "tables/instance-0"
    with tables:
        assert [each.name for each in directory.iterdir()] == ["large"]
    assert directory.exists()


async def test_rows_without_a_lease_are_removed_at_the_end(tmp_path: Path) -> None:
    directory = group_dir("toy", Settings(data_dir=tmp_path)) / "tables"
    with make_tables(tmp_path, lease=None):
        (own,) = directory.iterdir()
        assert own.name.startswith("unleased-")
    assert list(directory.iterdir()) == []


async def test_stores_are_closed_if_one_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []

    def close(store: object) -> None:
        closed.append(store)

    monkeypatch.setattr(InMemoryStore, "close", close)
    monkeypatch.setattr(RocksDbStore, "close", close)
    monkeypatch.setattr(RocksDbStore, "open", fail)
    with pytest.raises(StageFailedError, match="no space"), make_tables(tmp_path):
        pass
    assert len(closed) == 2


def fail(_store: object) -> int:
    raise StageFailedError("no space")


async def test_flush_starts_a_table_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[object] = []

    def start_flush(store: object) -> None:
        flushed.append(store)

    monkeypatch.setattr(RocksDbStore, "start_flush", start_flush)
    flush = make_tables(tmp_path).flush()
    assert (next(flush), flushed) == ((), [])
    assert (list(flush), len(flushed)) == ([()], 1)


async def measure_once(tables: StageTables) -> list[BaseException]:
    """Return the errors that fail the stage."""
    failures: list[BaseException] = []
    measuring = asyncio.create_task(tables.measure(failures.append))
    await asyncio.sleep(0)
    measuring.cancel()
    await asyncio.wait([measuring])
    return failures


async def test_sizes_are_exported(tmp_path: Path) -> None:
    with make_tables(tmp_path) as tables:
        tables.by_name["small"].store.put(b"a", b"12", 0)
        assert await measure_once(tables) == []
    labels = {"stage": "toy", "table": "small"}
    assert REGISTRY.get_sample_value("clipmill_table_rows", labels) == 1
    assert REGISTRY.get_sample_value("clipmill_table_bytes", labels) == 3


async def test_store_that_cannot_be_read_fails_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RocksDbStore, "__len__", fail)
    with make_tables(tmp_path) as tables:
        assert [str(each) for each in await measure_once(tables)] == ["no space"]
