"""Stages on a real broker: no handler loses a record or blocks a partition."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.settings import Settings
from streams.stage import Stage
from streams.topics import DEADLETTERS, ERRORS, PROGRESS, REQUESTS, RESULTS, changelog_topic
from tests.integration.kafka_client import (
    committed_offsets,
    create_topics,
    produce,
    produce_numbers,
    read,
    wait_until,
)
from tests.integration.toy_stage import (
    ToyStage,
    forwarded,
    running_stage,
    second_process_settings,
    sorted_numbers,
    with_stage_settings,
)


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    rows = changelog_topic("toy", "rows")
    await create_topics(settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS, rows)


pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


async def test_each_record_is_processed_once_in_any_order_of_completion(settings: Settings) -> None:
    rng = random.Random(7)
    in_flight: list[int] = []
    current = 0

    async def handle(record: Incoming) -> Sequence[Effect]:
        nonlocal current
        current += 1
        in_flight.append(current)
        await asyncio.sleep(rng.random() * 0.02)
        current -= 1
        return [forwarded(record)]

    toy = ToyStage(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(500))
    async with running_stage(toy, with_stage_settings(settings, concurrency=8)):
        results = await read(settings.kafka, RESULTS, lambda records: len(records) >= 500)
        await asyncio.sleep(0.5)
        assert await committed_offsets(settings.kafka, "toy", REQUESTS) == {0: 250, 1: 250}
    assert sorted_numbers(results) == list(range(500))
    assert max(in_flight) == 8


async def test_record_is_consumed_unchanged(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        return [forwarded(record)]

    toy = ToyStage(handle)
    headers = (("a", b"1"), ("a", b"\xff"), ("empty", b""))
    sent = [(b"\xff\xfe", b"\x80\x00", headers), (b"null", None, ()), (None, b"", ())]
    await produce(settings.kafka, REQUESTS, [(*record, 0) for record in sent])
    async with running_stage(toy, settings):
        await wait_until(lambda: len(toy.seen) == 3)
        results = await read(settings.kafka, RESULTS, lambda records: len(records) >= 3)
    assert [(r.key, r.value, r.headers) for r in toy.seen] == sent
    assert [r.position for r in toy.seen] == [f"requests-0-{offset}" for offset in range(3)]
    assert all(abs(r.timestamp - toy.seen[0].timestamp) < 5 for r in toy.seen)
    assert toy.seen[0].timestamp > 1_700_000_000
    assert {(r.key, r.value, r.headers) for r in results} == set(sent)


async def test_handler_exception_is_reported_and_the_partition_continues(
    settings: Settings,
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        if int(record.value or b"") % 3 == 0:
            raise ValueError("bad")
        return [forwarded(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(30))
    async with running_stage(ToyStage(handle), settings) as runner:
        results = await read(settings.kafka, RESULTS, lambda records: len(records) >= 20)
        bugs = await read(settings.kafka, ERRORS, lambda records: len(records) >= 10)
        assert runner.failure() is None
        assert await committed_offsets(settings.kafka, "toy", REQUESTS) == {0: 15, 1: 15}
    assert sorted_numbers(results) == [number for number in range(30) if number % 3]
    assert len(bugs) == 10
    assert all(b"ValueError('bad')" in record.value for record in bugs)


async def test_output_rejected_by_kafka_is_reported_as_a_bug(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        size = 3_000_000 if record.value == b"1" else 1
        return [Outgoing(RESULTS, record.key, b"7" * size)]

    await produce_numbers(settings.kafka, REQUESTS, [0, 1, 2, 3])
    async with running_stage(ToyStage(handle), settings) as runner:
        results = await read(settings.kafka, RESULTS, lambda records: len(records) >= 3)
        [bug] = await read(settings.kafka, ERRORS, lambda records: len(records) >= 1)
        assert runner.failure() is None
    assert len(results) == 3
    assert b"too large" in bug.value


async def test_largest_record_that_fails_is_dead_lettered_and_does_not_block_its_partition(
    settings: Settings,
) -> None:
    """No record that wraps it is accepted by Kafka."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        if len(record.value or b"") > 10:
            raise ValueError("bad")
        return [forwarded(record)]

    toy = ToyStage(handle)
    toy.stage = Stage(
        "toy",
        (REQUESTS,),
        open=toy.open,
        on_bug=lambda record, _: [Outgoing(ERRORS, record.key, b"%s wrapped" % record.value)],
    )
    await create_topics(settings.kafka, DEADLETTERS)
    await produce(settings.kafka, REQUESTS, [(b"k", b"x" * 2_097_060, (), 0), (b"k", b"1", (), 0)])
    async with running_stage(toy, settings) as runner:
        await read(settings.kafka, RESULTS, lambda found: bool(found or runner.failure()))
        assert runner.failure() is None
        [dead_letter] = await read(settings.kafka, DEADLETTERS, lambda records: len(records) >= 1)
    assert dict(dead_letter.headers)["clipmill_origin_offset"] == b"0"


async def test_slow_first_record_blocks_no_other_and_is_not_committed_past(
    settings: Settings,
) -> None:
    release = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        if record.value == b"0":
            await release.wait()
        return [forwarded(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(100))
    async with running_stage(ToyStage(handle), settings):
        results = await read(settings.kafka, RESULTS, lambda records: len(records) >= 99)
        assert sorted_numbers(results) == list(range(1, 100))
        await asyncio.sleep(3)
        offsets = await committed_offsets(settings.kafka, "toy", REQUESTS)
        assert offsets.get(0, 0) == 0, "committed past the slow head"
        assert offsets[1] == 50
        release.set()
        await asyncio.sleep(0.7)
        assert await committed_offsets(settings.kafka, "toy", REQUESTS) == {0: 50, 1: 50}


async def test_slow_record_in_the_middle_is_not_committed_past(settings: Settings) -> None:
    release = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        if record.value in {b"6", b"14"}:
            await release.wait()
        return ()

    toy = ToyStage(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(0, 40, 2))
    async with running_stage(toy, settings):
        await wait_until(lambda: len(toy.seen) == 20)
        await asyncio.sleep(1)
        assert (await committed_offsets(settings.kafka, "toy", REQUESTS))[0] == 3
    assert (await committed_offsets(settings.kafka, "toy", REQUESTS))[0] == 3, (
        "a stop commits no more"
    )


async def test_table_row_is_written_read_and_recovered(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        number = int(record.value or b"")
        row = None if number == 3 else record.value
        return [TableWrite("rows", f"k{number % 10}", row)]

    await produce_numbers(settings.kafka, REQUESTS, [1, 2, 3, 13, 12])
    await produce_numbers(settings.kafka, REQUESTS, [3])
    toy = ToyStage(handle, table=True)
    expected = {"k1": b"1", "k2": b"12"}
    async with running_stage(toy, settings) as runner:
        await wait_until(lambda: len(toy.seen) == 6)
        await asyncio.sleep(0.3)
        assert dict(runner.tables["rows"].items()) == expected
    second = ToyStage(handle, table=True)
    async with running_stage(second, settings) as runner:
        assert dict(runner.tables["rows"].items()) == expected
        assert second.seen == [], "what is committed is not read again"


async def test_rows_of_a_revoked_partition_are_dropped_by_the_old_owner(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        return [TableWrite("rows", (record.key or b"").decode(), record.value)]

    first, second = ToyStage(handle, table=True), ToyStage(handle, table=True)
    await produce_numbers(settings.kafka, REQUESTS, range(10))
    async with running_stage(first, settings) as one:
        await wait_until(lambda: len(one.tables["rows"]) == 10)
        async with running_stage(second, second_process_settings(settings, tmp_path)) as other:
            await wait_until(one.ready.is_set)
            await asyncio.sleep(0.5)
            rows = [dict(each.tables["rows"].items()) for each in (one, other)]
            assert sorted(rows[0] | rows[1]) == [f"k{number}" for number in range(10)]
            assert not rows[0].keys() & rows[1].keys(), "both would clean up the same rows"


async def test_workers_report_their_share_of_the_partitions(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        return ()

    def shares() -> list[float]:
        return [
            each.context.partition_share() for each in (first, second) if each.context is not None
        ]

    first, second = ToyStage(handle), ToyStage(handle)
    async with running_stage(first, settings):
        assert shares() == [1.0]
        async with running_stage(second, second_process_settings(settings, tmp_path)):
            await wait_until(lambda: max(shares()) < 1)
            assert sum(shares()) == 1.0
        await wait_until(lambda: shares()[0] == 1.0)


ENOUGH_TO_JOIN = 20
"""Number of records after which the first of two runners waits for the second."""


async def test_second_runner_joins_during_slow_processing(
    settings: Settings, tmp_path: Path
) -> None:
    joined = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.05)
        if len(first.seen) > ENOUGH_TO_JOIN:
            await joined.wait()
        return [forwarded(record)]

    first, second = ToyStage(handle), ToyStage(handle)
    low_concurrency = with_stage_settings(settings, concurrency=4)
    await produce_numbers(settings.kafka, REQUESTS, range(200))
    async with running_stage(first, low_concurrency) as one:
        await wait_until(lambda: len(first.seen) > ENOUGH_TO_JOIN)
        async with running_stage(
            second, second_process_settings(low_concurrency, tmp_path)
        ) as other:
            joined.set()
            results = await read(
                settings.kafka, RESULTS, lambda records: len(set(sorted_numbers(records))) >= 200
            )
            assert one.failure() is None
            assert other.failure() is None
        assert second.seen, "the second one got its share"
    assert set(sorted_numbers(results)) == set(range(200))
    assert len(results) < 300, "a rebalance repeats little"


async def test_partitions_of_a_leaving_runner_move_to_the_other(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.05)
        return [forwarded(record)]

    first, second = ToyStage(handle), ToyStage(handle)
    low_concurrency = with_stage_settings(settings, concurrency=4)
    async with running_stage(first, low_concurrency) as one:
        async with running_stage(second, second_process_settings(low_concurrency, tmp_path)):
            await wait_until(one.ready.is_set)
            await produce_numbers(settings.kafka, REQUESTS, range(150))
            await wait_until(lambda: len(second.seen) > 10)
        results = await read(
            settings.kafka, RESULTS, lambda found: len(set(sorted_numbers(found))) >= 150
        )
        assert one.failure() is None
    assert set(sorted_numbers(results)) == set(range(150))


async def test_cancelled_runner_leaves_unfinished_records_to_the_next(
    settings: Settings,
) -> None:
    async def stuck(record: Incoming) -> Sequence[Effect]:
        if int(record.value or b"") >= 10:
            await asyncio.Event().wait()
        return [forwarded(record)]

    rarely = settings.kafka.model_copy(update={"commit_interval_seconds": 60})

    async def work(toy: ToyStage) -> None:
        async with running_stage(toy, settings.model_copy(update={"kafka": rarely})):
            await asyncio.Event().wait()

    await produce_numbers(settings.kafka, REQUESTS, range(40))
    first = ToyStage(stuck)
    task = asyncio.create_task(work(first))
    await wait_until(lambda: len(first.seen) == 40)
    await read(settings.kafka, RESULTS, lambda found: len(found) >= 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert first.closed == 1

    async def handle(record: Incoming) -> Sequence[Effect]:
        return [forwarded(record)]

    async with running_stage(ToyStage(handle), settings):
        results = await read(
            settings.kafka, RESULTS, lambda found: len(set(sorted_numbers(found))) >= 40
        )
    assert set(sorted_numbers(results)) == set(range(40))
    assert len(results) == 40, "what was finished was committed at the stop"


async def test_in_flight_records_are_drained_on_stop(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.5)
        return [forwarded(record)]

    toy = ToyStage(handle, drains=True)
    await produce_numbers(settings.kafka, REQUESTS, range(10))
    async with running_stage(toy, settings):
        await wait_until(lambda: len(toy.seen) == 10)
    results = await read(settings.kafka, RESULTS, lambda found: len(found) >= 10)
    assert sorted_numbers(results) == list(range(10))
    assert await committed_offsets(settings.kafka, "toy", REQUESTS) == {0: 5, 1: 5}


async def test_window_smaller_than_the_backlog_loses_nothing(settings: Settings) -> None:
    held: list[int] = []

    async def handle(record: Incoming) -> Sequence[Effect]:
        held.append(len(runner.consumption.dispatcher.tasks))
        await asyncio.sleep(0.001)
        return [forwarded(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(300))
    async with running_stage(ToyStage(handle), with_stage_settings(settings, window=3)) as runner:
        results = await read(settings.kafka, RESULTS, lambda found: len(found) >= 300)
    assert sorted_numbers(results) == list(range(300))
    assert max(held) <= 3


async def test_best_effort_records_are_published(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        assert toy.context is not None
        toy.context.publish_best_effort(Outgoing(PROGRESS, record.key, b"half"))
        return [forwarded(record)]

    toy = ToyStage(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(3))
    async with running_stage(toy, settings):
        found = await read(settings.kafka, PROGRESS, lambda records: len(records) >= 3)
    assert [record.value for record in found] == [b"half"] * 3
