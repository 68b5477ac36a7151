import asyncio
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaConnectionError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.record_batches import UndecodableBatch
from streams.faust_driver import table_recovery as module
from streams.faust_driver.table_recovery import TableRecovery
from streams.state_stores import Checkpoint, InMemoryStore, digest_of

CHANGELOG = "toy-rows-changelog"
ROWS = TP(CHANGELOG, 0)
OTHER_ROWS = TP(CHANGELOG, 1)
STREAM = TP("requests", 0)


def row(offset: int, key: bytes, value: bytes | None) -> Any:
    return SimpleNamespace(offset=offset, key=key, value=value)


class Kafka:
    """aiokafka's consumer on logs in memory.

    Attributes:
        logs: records of each partition; ``ends`` may be behind the last of them.
        failures: raised by the next polls, one each.
        before_poll: called before each poll.
        per_poll: most records of a poll.
    """

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Any]] = {}
        self.starts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.failures: list[BaseException] = []
        self.before_poll: Callable[[], Any] = lambda: None
        self.per_poll = 500

    def write(self, tp: TP, *rows: Any, end: int | None = None) -> None:
        log = self.logs.setdefault(TopicPartition(*tp), [])
        log += rows
        self.ends[TopicPartition(*tp)] = end if end is not None else log[-1].offset + 1

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.starts.get(tp, 0) for tp in tps}

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends.get(tp, 0) for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    def pause(self, *tps: TopicPartition) -> None:
        self.paused |= set(tps)

    def resume(self, *tps: TopicPartition) -> None:
        self.paused -= set(tps)

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def getmany(self, *tps: TopicPartition, timeout_ms: int, max_records: int) -> Any:
        assert not self.paused & set(tps)
        called = self.before_poll()
        if asyncio.iscoroutine(called):
            await called
        if self.failures:
            raise self.failures.pop(0)
        found = {tp: self._read(tp, min(max_records, self.per_poll)) for tp in tps}
        if not any(found.values()):
            await asyncio.sleep(min(timeout_ms / 1000, 0.01))
        return {tp: rows for tp, rows in found.items() if rows}

    def _read(self, tp: TopicPartition, most: int) -> list[Any]:
        rows = [each for each in self.logs.get(tp, []) if each.offset >= self.positions[tp]][:most]
        # Behind the last record there may be offsets without records.
        is_last = not rows or rows[-1] is self.logs[tp][-1]
        self.positions[tp] = self.ends.get(tp, 0) if is_last else rows[-1].offset + 1
        return rows


class CheckpointStore(InMemoryStore):
    """A store in memory that survives its process, as one on disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.checkpoints: dict[int, Checkpoint] = {}

    def checkpoint(self, partition: int) -> Checkpoint | None:
        return self.checkpoints.get(partition)

    def set_checkpoint(self, partition: int, checkpoint: Checkpoint) -> None:
        self.checkpoints[partition] = checkpoint

    def drop(self, partition: int) -> Iterator[None]:
        self.checkpoints.pop(partition, None)
        return super().drop(partition)


class App:
    """Faust app with one table; records what happens in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.completed = asyncio.Event()
        self.kafka = Kafka()
        self.store = CheckpointStore()
        self.conf = SimpleNamespace(id="toy")
        self._fetcher = SimpleNamespace(maybe_start=self._done("fetcher"))
        self.flow_control = SimpleNamespace(resume=lambda: None)
        self.on_rebalance_complete = SimpleNamespace(send=self._complete)
        self.on_rebalance_end = lambda: None
        self.consumer = SimpleNamespace(
            kafka_consumer=self.kafka,
            perform_seek=self._done("seek"),
            resume_partitions=lambda tps: self.events.append(f"resume {sorted(tps)}"),
            resume_flow=lambda: None,
        )
        tables = SimpleNamespace(
            changelog_topics={CHANGELOG},
            stores={CHANGELOG: self.store},
            on_actives_ready=lambda: None,
            on_standbys_ready=lambda: None,
        )
        self.recovery = TableRecovery(self, tables)
        self.undecodable: list[tuple[TP, bytes]] = []
        self.recovery.on_undecodable = lambda *found: self.undecodable.append(found)

    def _done(self, name: str) -> Callable[[], Any]:
        async def done() -> None:
            self.events.append(name)

        return done

    async def _complete(self) -> None:
        self.events.append("complete")
        self.completed.set()

    @property
    def rows(self) -> dict[bytes, bytes]:
        return dict(entry for rows in self.store.slices(100) for entry in rows)

    @property
    def resumes(self) -> list[str]:
        return [each for each in self.events if each.startswith("resume")]

    async def assign(self, *tps: TP) -> None:
        await self.recovery.on_rebalance(set(tps), set(), set())

    async def recover(self, *tps: TP) -> None:
        """Assign partitions, and wait until the streams are resumed."""
        self.events.clear()
        self.completed.clear()
        await self.assign(*tps)
        async with asyncio.timeout(5):
            await self.completed.wait()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    return App()


WRITTEN = [row(4, b"a", b"1"), row(5, b"b", b"2"), row(7, b"a", None), row(8, b"c", b"")]


async def test_streams_are_resumed_after_the_tables_are_restored(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    seen: list[dict[bytes, bytes]] = []
    app.consumer.resume_partitions = lambda _: seen.append(app.rows)
    await app.recover(ROWS, STREAM)
    assert app.events == ["seek", "fetcher", "complete"]
    assert seen == [app.rows] == [{b"b": b"2", b"c": b""}]
    assert app.recovery.read_offsets == {ROWS: 8}
    assert app.recovery.completed.is_set()


async def test_changelogs_are_paused_after_the_recovery(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    await app.recover(ROWS, STREAM)
    assert app.kafka.paused == {TopicPartition(*ROWS)}
    assert app.resumes == [f"resume {[STREAM]}"]


@pytest.mark.parametrize("tps", [[], [STREAM], [ROWS]])
async def test_recovery_of_nothing_ends(app: App, tps: list[TP]) -> None:
    await app.recover(*tps)
    assert app.rows == {}
    assert app.recovery.read_offsets == {tp: -1 for tp in tps if tp == ROWS}


async def test_only_rows_behind_the_read_offset_are_read_again(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN[:3])
    await app.recover(ROWS)
    app.store.put(b"b", b"changed", 0)
    app.kafka.write(ROWS, WRITTEN[3])
    await app.recover(ROWS)
    assert app.rows == {b"b": b"changed", b"c": b""}


async def test_log_may_begin_behind_the_read_offset(app: App) -> None:
    app.kafka.write(ROWS, WRITTEN[0])
    await app.recover(ROWS)
    app.kafka.starts[TopicPartition(*ROWS)] = 8
    app.kafka.write(ROWS, WRITTEN[3])
    await app.recover(ROWS)
    assert app.rows == {b"a": b"1", b"c": b""}


async def test_last_offsets_of_a_log_may_have_no_records(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN, end=12)
    await app.recover(ROWS)
    assert app.recovery.read_offsets == {ROWS: 11}


async def test_rows_of_a_lost_partition_are_dropped(app: App) -> None:
    app.kafka.write(ROWS, row(0, b"mine", b"1"))
    app.kafka.write(OTHER_ROWS, row(0, b"lost", b"2"))
    await app.recover(ROWS, OTHER_ROWS)
    assert app.rows == {b"mine": b"1", b"lost": b"2"}
    await app.assign(ROWS)
    assert app.rows == {b"mine": b"1"}
    await app.recover(ROWS, OTHER_ROWS)
    assert app.rows == {b"mine": b"1", b"lost": b"2"}


async def test_undecodable_batch_is_reported_and_the_other_rows_are_restored(app: App) -> None:
    app.kafka.write(ROWS, WRITTEN[0], row(5, None, UndecodableBatch(b"broken")), WRITTEN[3])  # type: ignore[arg-type]
    await app.recover(ROWS)
    assert app.undecodable == [(ROWS, b"broken")]
    assert app.rows == {b"a": b"1", b"c": b""}


# Rows on disk


def restarted(app: App) -> App:
    """Return the app of the next process, with the same store and cluster."""
    following = App()
    following.store.__dict__.update(app.store.__dict__)
    following.kafka.logs, following.kafka.ends = app.kafka.logs, app.kafka.ends
    return following


def seeks_of(app: App) -> list[int]:
    """Record the offsets that the changelogs are sought to."""
    offsets: list[int] = []
    seek = app.kafka.seek

    def recorded(tp: TopicPartition, offset: int) -> None:
        offsets.append(offset)
        seek(tp, offset)

    app.kafka.seek = recorded  # type: ignore[method-assign]
    return offsets


async def test_next_process_reads_from_the_checkpoint(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN[:3])
    await app.recover(ROWS)
    assert app.store.checkpoints == {0: Checkpoint(7, digest_of(b"a", None))}
    app.kafka.write(ROWS, WRITTEN[3])
    following = restarted(app)
    offsets = seeks_of(following)
    await following.recover(ROWS)
    assert (offsets, following.rows) == ([7], {b"b": b"2", b"c": b""})
    assert following.store.checkpoints == {0: Checkpoint(8, digest_of(b"c", b""))}


@pytest.mark.parametrize(
    "log",
    [
        pytest.param([row(7, b"z", b"9"), row(8, b"y", b"9")], id="another record there"),
        pytest.param([row(8, b"y", b"9")], id="compacted away"),
        pytest.param([row(3, b"y", b"9")], id="shorter"),
        pytest.param([row(12, b"y", b"9")], id="begins behind it"),
    ],
)
async def test_local_rows_of_another_log_are_dropped(app: App, log: list[Any]) -> None:
    app.kafka.write(ROWS, *WRITTEN[:3])
    await app.recover(ROWS)
    following = restarted(app)
    following.kafka.logs.clear()
    following.kafka.write(ROWS, *log)
    following.kafka.starts[TopicPartition(*ROWS)] = log[0].offset
    await following.recover(ROWS)
    assert following.rows == {each.key: each.value for each in log}


async def test_local_rows_are_dropped_if_the_log_has_no_more_records(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN[:3])
    await app.recover(ROWS)
    following = restarted(app)
    following.kafka.logs.clear()
    following.kafka.ends[TopicPartition(*ROWS)] = 20
    await following.recover(ROWS)
    assert following.rows == {}


async def test_checkpoint_is_verified_after_a_rebalance_during_the_recovery(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN[:3])
    await app.recover(ROWS)
    following = restarted(app)
    following.kafka.logs.clear()
    following.kafka.write(ROWS, row(9, b"y", b"9"))
    polled, blocked = asyncio.Event(), asyncio.Event()

    async def block() -> None:
        following.kafka.before_poll = lambda: None
        polled.set()
        await blocked.wait()

    following.kafka.before_poll = block
    await following.assign(ROWS)
    await polled.wait()
    assert set(following.recovery._unverified) == {ROWS}
    await following.recover(ROWS)
    assert following.rows == {b"y": b"9"}


async def test_rows_written_while_others_are_dropped_extend_the_recovery(app: App) -> None:
    """Its own changelog is sought after the drop; the older row is read again before the newer."""
    app.kafka.write(ROWS, row(0, b"a", b"old"))
    app.kafka.ends[TopicPartition(*ROWS)] = 1

    def drop(_partition: int) -> Iterator[None]:
        app.kafka.write(ROWS, row(1, b"a", b"new"))
        app.store.put(b"a", b"new", 0)
        app.recovery.extend(ROWS, 1)
        yield

    app.store.drop = drop  # type: ignore[method-assign, assignment]
    app.kafka.per_poll = 1
    await app.recover(ROWS)
    assert app.rows == {b"a": b"new"}


async def test_partition_that_comes_back_is_read_from_its_checkpoint(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    await app.recover(ROWS)
    await app.recover()
    offsets = seeks_of(app)
    app.store.put(b"b", b"2", 0)
    await app.recover(ROWS)
    assert offsets == [8]


# Rebalances during a recovery


async def test_revocation_cancels_the_recovery(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    app.kafka.before_poll = lambda: app.recovery.on_partitions_revoked({ROWS})
    await app.assign(ROWS, STREAM)
    await asyncio.sleep(0.05)
    assert app.events == []


async def test_revocation_counts_when_a_library_drops_the_cancellation(app: App) -> None:
    async def seek_to_the_end() -> None:
        app.recovery.on_partitions_revoked({ROWS})
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            app.events.append("dropped")

    app.consumer.perform_seek = seek_to_the_end
    await app.assign(ROWS, STREAM)
    await asyncio.sleep(0.05)
    assert app.events == ["dropped", "fetcher"]


@pytest.mark.parametrize("polls", range(5))
async def test_streams_are_resumed_once_after_several_rebalances(app: App, polls: int) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    app.kafka.per_poll = 1
    await app.assign(ROWS)
    for _ in range(3 * polls):
        await asyncio.sleep(0)
    app.recovery.on_partitions_revoked({ROWS})
    await app.recover(ROWS, STREAM)
    assert app.resumes == [f"resume {[STREAM]}"]
    assert app.rows == {b"b": b"2", b"c": b""}


async def test_stop_cancels_the_recovery(app: App) -> None:
    app.kafka.before_poll = app.recovery.on_stop
    app.kafka.write(ROWS, *WRITTEN)
    await app.assign(ROWS)
    await asyncio.sleep(0.05)
    assert app.events == []


# Own writes during a recovery


async def test_recovery_reads_up_to_rows_that_were_written_meanwhile(app: App) -> None:
    """The older row of the same key is applied after the newer one, which is then read too."""
    app.kafka.write(ROWS, row(0, b"a", b"old"))

    def write() -> None:
        app.kafka.before_poll = lambda: None
        app.kafka.write(ROWS, row(1, b"a", b"new"), end=1)
        app.kafka.ends[TopicPartition(*ROWS)] = 2
        app.store.put(b"a", b"new", 0)
        app.recovery.extend(ROWS, 1)

    app.kafka.before_poll = write
    app.kafka.per_poll = 1
    await app.recover(ROWS)
    assert app.rows == {b"a": b"new"}
    assert app.recovery.read_offsets == {ROWS: 1}


# Failures


@pytest.mark.parametrize(
    "failure",
    [
        KafkaConnectionError("no broker"),
        RequestTimedOutError(),
        IllegalStateError("No current assignment for partition"),
        TimeoutError(),
        NoOffsetForPartitionError(TopicPartition(*ROWS)),
    ],
)
async def test_passing_failure_starts_the_recovery_again(app: App, failure: Exception) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    app.kafka.failures = [failure, failure]
    await app.recover(ROWS)
    assert app.rows == {b"b": b"2", b"c": b""}


async def test_recovery_without_rows_starts_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another task had read the rows: the position is behind them, and no row comes."""
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_SECONDS", 0.05)
    app.kafka.write(ROWS, *WRITTEN)
    seeks: list[int] = []
    seek, read = app.kafka.seek, app.kafka._read

    def counted_seek(tp: TopicPartition, offset: int) -> None:
        seeks.append(offset)
        seek(tp, offset)

    app.kafka.seek = counted_seek  # type: ignore[method-assign]
    app.kafka._read = lambda *poll: read(*poll) if len(seeks) > 1 else []  # type: ignore[method-assign]
    await app.recover(ROWS)
    assert seeks == [0, 0]
    assert app.rows == {b"b": b"2", b"c": b""}


async def test_hanging_request_starts_the_recovery_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_SECONDS", 0.02)
    hangs = [asyncio.Event(), asyncio.Event()]
    app.kafka.write(ROWS, *WRITTEN)
    app.kafka.before_poll = lambda: hangs.pop().wait() if hangs else None
    await app.recover(ROWS)
    assert app.rows == {b"b": b"2", b"c": b""}


async def test_truncated_changelog_is_read_from_its_beginning(app: App) -> None:
    app.kafka.write(ROWS, *WRITTEN)
    await app.recover(ROWS)
    app.kafka.logs.clear()
    app.kafka.write(ROWS, row(0, b"d", b"4"), end=20)
    app.kafka.failures = [OffsetOutOfRangeError({TopicPartition(*ROWS): 9})]
    await app.recover(ROWS)
    assert app.rows[b"d"] == b"4"


async def test_lasting_failure_crashes_the_app(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    monkeypatch.setattr(app.recovery, "crash", crash)
    app.kafka.write(ROWS, *WRITTEN)
    app.kafka.failures = [TopicAuthorizationFailedError(CHANGELOG)]
    await app.assign(ROWS)
    await asyncio.sleep(0.05)
    assert (type(crashes[0]), app.events) == (TopicAuthorizationFailedError, [])


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary())))
def test_polls_of_any_size_restore_the_same_rows(written: list[tuple[bytes, bytes | None]]) -> None:
    async def restored(per_poll: int) -> Any:
        app = App()
        app.kafka.per_poll = per_poll
        if written:
            app.kafka.write(ROWS, *(row(offset, *each) for offset, each in enumerate(written)))
        await app.recover(ROWS)
        return app.rows

    expected = {key: value for key, value in dict(written).items() if value is not None}
    for per_poll in (1, 2, 5):
        assert asyncio.run(restored(per_poll)) == expected
