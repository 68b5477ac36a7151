import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from struct import Struct
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rocksdict import Rdict, WriteBatch

from streams.state_stores import Checkpoint, RowFields, rocksdb, rocksdb_files
from streams.state_stores.rocksdb import CHECKPOINT_AGE_SECONDS_MAX, RocksDbStore
from streams.state_stores.rocksdb_files import (
    RocksDbFiles,
    StateDirectoryLockedError,
    StateStoreError,
)
from tests.state_stores import IndexedInMemoryStore

_EXPIRY = Struct(">d")
ALL = range(3)
CHECKPOINT = Checkpoint(7, 0xFFFFFFFF)


def row(expires_at: float, more: bytes = b"") -> bytes:
    return _EXPIRY.pack(expires_at) + more


INDEX = RowFields(lambda row: _EXPIRY.unpack_from(row)[0], lambda row: row.endswith(b"open"))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "group" / "rows"


@contextmanager
def opened(path: Path, clock: Callable[[], float], assigned: Any = ALL) -> Iterator[RocksDbStore]:
    store = RocksDbStore(path, INDEX, clock=clock)
    store.open()
    with closing(store):
        store.assign(assigned)
        yield store


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[RocksDbStore]:
    with opened(path, clock) as store:
        yield store


def keys_in(slices: Iterator[list[bytes]]) -> list[bytes]:
    return [key for keys in slices for key in keys]


def rows_of(store: RocksDbStore) -> dict[bytes, bytes]:
    return dict(entry for rows in store.slices(2) for entry in rows)


# Rows


def test_rows_are_stored_replaced_and_deleted(store: RocksDbStore) -> None:
    store.put(b"a", row(1.0), 0)
    store.put(b"b", row(2.0, b"open"), 1)
    store.put(b"a", row(3.0, b"longer"), 0)
    assert (store.get(b"a"), store.get(b"c")) == (row(3.0, b"longer"), None)
    assert (len(store), store.size_bytes, store.counted) == (2, 2 + 14 + 12, 1)
    store.put(b"b", None, 1)
    assert (rows_of(store), store.counted) == ({b"a": row(3.0, b"longer")}, 0)


@pytest.mark.parametrize("buffered", [1, 2, 100])
def test_buffer_does_not_show(
    store: RocksDbStore, buffered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocksdb, "BUFFERED_ROWS", buffered)
    for number in range(5):
        store.put(b"%d" % number, row(number), 0)
        store.put(b"%d" % number, row(number + 1), 0)
        store.put(b"%d" % (number - 1), None, 0)
        assert store.get(b"%d" % number) == row(number + 1)
        assert store.get(b"%d" % (number - 1)) is None
    assert rows_of(store) == {b"4": row(5)}


def test_deletion_by_another_partition_is_ignored(store: RocksDbStore) -> None:
    """The key has moved, and the changelogs of both are read in any order."""
    store.put(b"a", row(1.0), 2)
    store.put(b"a", None, 1)
    assert store.get(b"a") == row(1.0)


def test_rows_of_other_partitions_are_hidden_and_kept(store: RocksDbStore) -> None:
    for number in ALL:
        store.put(b"%d" % number, row(1.0), number)
    store.assign({1})
    assert rows_of(store) == {b"1": row(1.0)}
    assert (store.get(b"0"), len(store), store.size_bytes) == (None, 1, 9)
    assert keys_in(store.first_to_expire(1_000)) == [b"1"]
    store.assign({0, 1})
    assert rows_of(store) == {b"0": row(1.0), b"1": row(1.0)}


def test_rows_may_change_between_slices(store: RocksDbStore) -> None:
    for number in range(10):
        store.put(b"%d" % number, row(1.0), 0)
    found = []
    for rows in store.slices(2):
        found += [key for key, _ in rows]
        store.put(found[-1], None, 0)
        store.put(b"%d" % (len(found) + 1), None, 0)
    assert found == [b"0", b"1", b"2", b"4", b"6", b"7", b"8", b"9"]


# Expiry


@pytest.mark.parametrize(
    ("expires_at", "first_second"),
    [(10.0, 10), (10.1, 11), (0.0, 0), (-1.0, 0), (1e300, None), (float("nan"), None)],
)
def test_rows_expire_in_the_second_after(
    store: RocksDbStore, expires_at: float, first_second: int | None
) -> None:
    store.put(b"a", row(expires_at), 0)
    if first_second is None:
        assert keys_in(store.expired(2.0**62)) == []
        return
    if first_second:
        assert keys_in(store.expired(first_second - 0.01)) == []
    assert keys_in(store.expired(first_second)) == [b"a"]


def test_expired_hidden_rows_are_deleted(store: RocksDbStore) -> None:
    store.put(b"a", row(5.0), 0)
    store.put(b"b", row(5.0), 1)
    store.put(b"c", row(50.0), 1)
    store.assign({0})
    assert keys_in(store.expired(10.0)) == [b"a"]
    store.assign({0, 1})
    assert rows_of(store) == {b"a": row(5.0), b"c": row(50.0)}


def test_rows_that_expire_first_are_evicted(store: RocksDbStore) -> None:
    for number, partition in ((5, 0), (3, 1), (4, 2), (9, 0)):
        store.put(b"%d" % number, row(number), partition)
    assert keys_in(store.first_to_expire(0)) == []
    assert keys_in(store.first_to_expire(9)) == [b"3"]
    assert keys_in(store.first_to_expire(10)) == [b"3", b"4"]
    assert keys_in(store.first_to_expire(10**9)) == [b"3", b"4", b"5", b"9"]


@pytest.mark.parametrize("name", ["expired", "first_to_expire"])
def test_sweep_ends_at_an_assignment(
    store: RocksDbStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its next slice could delete rows that another worker has renewed meanwhile."""
    monkeypatch.setattr(rocksdb, "SLICE_ROWS", 2)
    for number in range(6):
        store.put(b"%d" % number, row(number), 0)
    slices = getattr(store, name)(1_000)
    assert next(slices) == [b"0", b"1"]
    store.assign({1})
    store.assign({0, 1})
    assert list(slices) == []


def test_renewed_row_is_not_evicted(store: RocksDbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rocksdb, "SLICE_ROWS", 2)
    for number in range(4):
        store.put(b"%d" % number, row(number), 0)
    slices = store.first_to_expire(1_000)
    assert next(slices) == [b"0", b"1"]
    store.put(b"2", row(9), 0)
    assert keys_in(slices) == [b"3"]


def test_sweep_goes_on_after_its_rows_are_deleted(
    store: RocksDbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocksdb, "SLICE_ROWS", 2)
    for number in range(7):
        store.put(b"%d" % number, row(number), 0)
    sizes = []
    for keys in store.expired(5.0):
        sizes.append(len(keys))
        for key in keys:
            store.put(key, None, 0)
    assert (sizes, rows_of(store)) == ([2, 2, 2], {b"6": row(6)})


# The next process


def test_closed_store_keeps_rows_totals_and_checkpoint(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0, b"open"), 1)
        store.set_checkpoint(1, CHECKPOINT)
    with opened(path, clock) as store:
        assert (rows_of(store), len(store), store.counted) == ({b"a": row(5.0, b"open")}, 1, 1)
        assert (store.checkpoint(1), store.checkpoint(0)) == (CHECKPOINT, None)
        assert keys_in(store.expired(5.0)) == [b"a"]


def test_killed_process_leaves_the_rows_of_a_checkpoint(path: Path) -> None:
    """What was saved is there; of later rows none, or all that are before the checkpoint."""
    code = f"""
import os
from pathlib import Path
from streams.state_stores import Checkpoint, RowFields
from streams.state_stores.rocksdb import RocksDbStore
store = RocksDbStore(Path({str(path)!r}), RowFields(lambda row: 1.0))
store.open()
store.assign(range(3))
for number in range(100_000):
    store.put(b"%d" % number, b"x" * 300, number % 3)
    store.set_checkpoint(number % 3, Checkpoint(number, 0))
    if number == 50_000:
        store.start_flush()
        store._files.flush(wait=True)
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    store = RocksDbStore(path, RowFields(lambda _: 1.0))
    store.open()
    with closing(store):
        store.assign(ALL)
        for partition in ALL:
            checkpoint = store.checkpoint(partition)
            assert checkpoint is not None
            assert checkpoint.offset >= 50_000 - 3
            expected = {b"%d" % number for number in range(partition, checkpoint.offset + 1, 3)}
            store.assign({partition})
            assert expected <= {key for rows in store.slices(1_000) for key, _ in rows}


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", "sst"])
def test_damaged_files_are_dropped(path: Path, clock: Clock, name: str) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.set_checkpoint(0, CHECKPOINT)
    (damaged, *_) = [each for each in path.iterdir() if name in each.name]
    damaged.write_bytes(b"\xff" * damaged.stat().st_size)
    with opened(path, clock) as store:
        assert (rows_of(store), store.checkpoint(0)) == ({}, None)
        store.put(b"b", row(5.0), 0)
        assert rows_of(store) == {b"b": row(5.0)}


def damage(path: Path, share: float) -> None:
    """Overwrite 64 bytes of the only table file, at a share of its length."""
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    at = int(share * len(content))
    content[at : at + 64] = bytes(64)
    table.write_bytes(content)


READERS: dict[str, tuple[float, Callable[[RocksDbStore], object]]] = {
    "slices": (0.1, rows_of),
    "expired": (0.7, lambda store: list(store.expired(10_000.0))),
    "eviction": (0.7, lambda store: list(store.first_to_expire(10**9))),
    "drop": (0.7, lambda store: list(store.drop(0))),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_block_is_an_error_and_not_the_end(path: Path, clock: Clock, name: str) -> None:
    """`Rdict.items` ends at it, as if there were no more entries."""
    share, read = READERS[name]
    with opened(path, clock) as store:
        for number in range(2_000):
            store.put(b"%016x" % (number * 0x9E3779B97F4A7C15 % 2**64), row(number), 0)
        store.set_checkpoint(0, CHECKPOINT)
    damage(path, share)
    with opened(path, clock) as store:
        assert len(store) == 2_000
        with pytest.raises(StateStoreError, match="Corruption"):
            read(store)
    with opened(path, clock) as store:
        assert (rows_of(store), len(store), store.checkpoint(0)) == ({}, 0, None)


@pytest.mark.parametrize("share", [0.05 * step for step in range(20)])
def test_damage_anywhere_serves_no_wrong_row(path: Path, clock: Clock, share: float) -> None:
    expected = {b"%016x" % (each * 0x9E3779B97F4A7C15 % 2**64): row(each) for each in range(2_000)}
    with opened(path, clock) as store:
        for key, value in expected.items():
            store.put(key, value, 0)
        store.set_checkpoint(0, CHECKPOINT)
    damage(path, share)
    with opened(path, clock) as store:
        try:
            found = rows_of(store)
            assert found == {key: store.get(key) for key in found}
        except StateStoreError:
            return
        # Dropped by `open`, or the damage is in the index.
        assert found in ({}, expected)


def test_no_checkpoint_is_left_of_states_that_cannot_be_read(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint without its rows would lose them."""
    with opened(path, clock) as store:
        for partition in ALL:
            store.put(b"%d" % partition, row(5.0), partition)
            store.set_checkpoint(partition, CHECKPOINT)
    scan = rocksdb_files.RocksDbFiles.scan

    def damaged(
        files: rocksdb_files.RocksDbFiles, start: bytes, prefix: bytes
    ) -> Iterator[tuple[bytes, bytes]]:
        yield next(scan(files, start, prefix))
        files.raise_damaged("a block")

    with monkeypatch.context() as patched:
        patched.setattr(rocksdb_files.RocksDbFiles, "scan", damaged)
        store = RocksDbStore(path, INDEX, clock=clock)
        store.open()
    with closing(store):
        store.assign(ALL)
        assert (rows_of(store), len(store)) == ({}, 0)
        assert [store.checkpoint(partition) for partition in ALL] == [None] * 3


def test_row_without_the_state_of_its_partition_is_damage(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.start_flush()
        store._totals.clear()
        store.put(b"a", row(6.0), 0)
        with pytest.raises(StateStoreError, match="the state of partition 0 is missing"):
            store.start_flush()
        store._pending.clear()
    with opened(path, clock) as store:
        assert rows_of(store) == {}


@pytest.mark.parametrize("name", ["start_flush", "expired", "drop"])
def test_failed_write_leaves_the_totals(store: RocksDbStore, name: str) -> None:
    for number, partition in ((1, 0), (2, 1)):
        store.put(b"%d" % number, row(number), partition)
    store.start_flush()
    store.assign({0})
    before = (len(store), store.size_bytes)
    database = store._files._db

    def fail(_batch: object) -> None:
        raise Exception("IO error: No space left on device")  # noqa: TRY002

    store._files._db = SimpleNamespace(
        write=fail, get=database.get, iter=database.iter, flush=database.flush
    )
    store.put(b"3", row(3), 0)
    calls: dict[str, Callable[[], object]] = {
        "start_flush": store.start_flush,
        "expired": lambda: list(store.expired(5.0)),
        "drop": lambda: list(store.drop(0)),
    }
    for _ in range(3):
        with pytest.raises(StateStoreError, match="No space left"):
            calls[name]()
    store._files._db = database
    store._pending.clear()
    assert (len(store), store.size_bytes) == before


def test_store_whose_reads_fail_is_dropped_by_the_next_open(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.set_checkpoint(0, CHECKPOINT)
        store.start_flush()

        database = store._files._db

        def fail(_key: bytes) -> None:
            raise Exception("Corruption: block checksum mismatch")  # noqa: TRY002

        store._files._db = SimpleNamespace(get=fail)
        with pytest.raises(StateStoreError, match=r"rows: Corruption: block checksum mismatch"):
            store.get(b"c")
        store._files._db = database
    with opened(path, clock) as store:
        assert rows_of(store) == {}


def test_store_of_another_format_is_dropped(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
    monkeypatch.setattr(rocksdb, "FORMAT", b"2")
    with opened(path, clock) as store:
        assert rows_of(store) == {}


def test_directory_of_a_running_process_is_refused(path: Path, store: RocksDbStore) -> None:
    store.put(b"a", row(5.0), 0)
    with pytest.raises(StateDirectoryLockedError, match="give each worker its own data_dir"):
        RocksDbStore(path, INDEX).open()
    assert store.get(b"a") == row(5.0)


def test_unwritable_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateStoreError, match=r"file/rows: .*data_dir has to be a directory"):
        RocksDbStore(tmp_path / "file" / "rows", INDEX).open()


def test_full_disk_is_an_error_that_keeps_the_rows(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.set_checkpoint(0, CHECKPOINT)

    def fail(*_: object) -> None:
        raise Exception("IO error: No space left on device: While appending")  # noqa: TRY002

    with monkeypatch.context() as full:
        full.setattr(rocksdb_files, "Rdict", fail)
        with pytest.raises(StateStoreError, match="free space on the disk of data_dir"):
            RocksDbStore(path, INDEX).open()
    with opened(path, clock) as store:
        assert rows_of(store) == {b"a": row(5.0)}


def test_store_that_failed_to_open_leaves_its_directory_unlocked(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_options: dict[str, str]) -> None:
        raise Exception("IO error: No space left on device: While appending")  # noqa: TRY002

    def opened_on_a_full_disk(directory: str, options: Any) -> SimpleNamespace:
        database = Rdict(directory, options)
        return SimpleNamespace(
            set_write_options=database.set_write_options, set_options=fail, close=database.close
        )

    store = RocksDbStore(path, INDEX, clock=clock)
    with monkeypatch.context() as full:
        full.setattr(rocksdb_files, "Rdict", opened_on_a_full_disk)
        with pytest.raises(StateStoreError, match="free space on the disk of data_dir") as kept:
            store.open()
    with opened(path, clock) as again:
        assert rows_of(again) == {}
    assert kept.value.__cause__ is not None


def test_closing_twice_is_harmless(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.close()


# Checkpoints


@pytest.mark.parametrize(
    ("age", "is_valid"),
    [(CHECKPOINT_AGE_SECONDS_MAX, True), (CHECKPOINT_AGE_SECONDS_MAX + 1, False)],
)
def test_old_checkpoint_is_not_valid(path: Path, clock: Clock, age: float, is_valid: bool) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.set_checkpoint(0, CHECKPOINT)
    clock.now += age
    with opened(path, clock) as store:
        assert (store.checkpoint(0) == CHECKPOINT) is is_valid


@pytest.mark.parametrize(("step", "is_valid"), [(-60.0, True), (-61.0, False)])
def test_checkpoint_from_the_future_is_not_valid(
    path: Path, clock: Clock, step: float, is_valid: bool
) -> None:
    with opened(path, clock) as store:
        store.set_checkpoint(0, CHECKPOINT)
    clock.now += step
    with opened(path, clock) as store:
        assert (store.checkpoint(0) == CHECKPOINT) is is_valid


def test_rows_without_any_valid_checkpoint_are_deleted_at_once(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.put(b"a", row(5.0), 0)
        store.set_checkpoint(0, CHECKPOINT)
    clock.now += 2 * CHECKPOINT_AGE_SECONDS_MAX
    with opened(path, clock) as store:
        assert (rows_of(store), len(store)) == ({}, 0)


def test_checkpoint_of_an_idle_partition_stays_valid(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.set_checkpoint(0, CHECKPOINT)
        for _ in range(3):
            clock.now += CHECKPOINT_AGE_SECONDS_MAX / 2
            store.start_flush()
    with opened(path, clock) as store:
        assert store.checkpoint(0) == CHECKPOINT


def test_checkpoint_ages_while_another_worker_has_the_partition(path: Path, clock: Clock) -> None:
    with opened(path, clock) as store:
        store.set_checkpoint(0, CHECKPOINT)
        store.start_flush()
        store.assign({1})
        for number in range(3):
            clock.now += CHECKPOINT_AGE_SECONDS_MAX / 2
            store.put(b"a", row(number), 1)
            store.start_flush()
        store.assign({0, 1})
        store.put(b"a", row(9), 1)
        store.start_flush()
        assert store.checkpoint(0) is None


def test_dropped_partition_has_neither_rows_nor_checkpoint(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rocksdb, "SLICE_ROWS", 2)
    with opened(path, clock) as store:
        for number in range(9):
            store.put(b"%d" % number, row(5.0), number % 3)
        store.set_checkpoint(1, CHECKPOINT)
        store.set_checkpoint(2, CHECKPOINT)
        assert len(list(store.drop(1))) == 2
        assert set(rows_of(store)) == {b"0", b"2", b"3", b"5", b"6", b"8"}
    with opened(path, clock) as store:
        assert (store.checkpoint(1), store.checkpoint(2)) == (None, CHECKPOINT)
        assert len(store) == 6


# Beside the model


class StoreMachine(RuleBasedStateMachine):
    """Compares the store with `IndexedInMemoryStore`; it is closed and opened in between."""

    @initialize(path=st.builds(lambda: Path(mkdtemp())))
    def begin(self, path: Path) -> None:
        self.path = path
        self.model = IndexedInMemoryStore(INDEX)
        self.open()

    def open(self) -> None:
        self.store = RocksDbStore(self.path, INDEX, clock=Clock())
        self.store.open()
        self.store.assign(ALL)
        for partition in ALL:
            self.store.set_checkpoint(partition, CHECKPOINT)

    @rule(
        key=st.sampled_from([b"a", b"b", b"ab", b""]),
        row=st.none()
        | st.builds(row, st.floats(0, 20, width=16), st.sampled_from([b"", b"open", b"more"])),
        partition=st.sampled_from(ALL),
    )
    def put(self, key: bytes, row: bytes | None, partition: int) -> None:
        self.store.put(key, row, partition)
        self.model.put(key, row, partition)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule(partition=st.sampled_from(ALL))
    def drop(self, partition: int) -> None:
        for store in (self.store, self.model):
            for _ in store.drop(partition):
                pass

    @rule(now=st.integers(0, 20))
    def expire(self, now: int) -> None:
        # The store rounds up to seconds.
        assert sorted(keys_in(self.store.expired(now))) == sorted(keys_in(self.model.expired(now)))

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def equal(self) -> None:
        assert rows_of(self.store) == dict(self.model._all())
        assert len(self.store) == len(self.model)
        assert self.store.size_bytes == self.model.size_bytes
        assert self.store.counted == self.model.counted

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            rmtree(self.path)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


def test_blocks_of_deleted_files_leave_the_block_cache(path: Path) -> None:
    database = RocksDbFiles(path, b"1")
    database.open()
    with closing(database):
        before = rocksdb_files.block_cache().get_usage()
        rows, value = range(2_000), b"x" * 1_000
        for _ in range(10):
            batch = WriteBatch(raw_mode=True)
            for number in rows:
                batch.put(b"%06d" % number, random.randbytes(500) + value)
            database.write(batch)
            database.flush(wait=True)
            assert sum(1 for _ in database.scan(b"", b"0")) == len(rows)
        written = 10 * len(rows) * (500 + len(value))
        assert rocksdb_files.block_cache().get_usage() - before < written / 2
