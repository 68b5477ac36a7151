"""Stages on a real broker: nothing is lost, nothing is blocked, whatever the handler does."""

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
from tests.integration.kafka_side import (
    committed,
    make_topics,
    produce,
    produce_numbers,
    read,
    until,
)
from tests.integration.toy_stage import Toy, beside, passed_on, running, values, with_stage


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    rows = changelog_topic("toy", "rows")
    await make_topics(settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS, rows)


pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


async def test_everything_comes_out_once_whatever_finishes_first(settings: Settings) -> None:
    rng = random.Random(7)
    at_once: list[int] = []
    working = 0

    async def handle(record: Incoming) -> Sequence[Effect]:
        nonlocal working
        working += 1
        at_once.append(working)
        await asyncio.sleep(rng.random() * 0.02)
        working -= 1
        return [passed_on(record)]

    toy = Toy(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(500))
    async with running(toy, with_stage(settings, concurrency=8)):
        out = await read(settings.kafka, RESULTS, lambda records: len(records) >= 500)
        await asyncio.sleep(0.5)
        assert await committed(settings.kafka, "toy", REQUESTS) == {0: 250, 1: 250}
    assert values(out) == list(range(500))
    assert max(at_once) == 8


async def test_a_record_arrives_as_it_was_written(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        return [passed_on(record)]

    toy = Toy(handle)
    headers = (("a", b"1"), ("a", b"\xff"), ("empty", b""))
    sent = [(b"\xff\xfe", b"\x80\x00", headers), (b"null", None, ()), (None, b"", ())]
    await produce(settings.kafka, REQUESTS, [(*record, 0) for record in sent])
    async with running(toy, settings):
        await until(lambda: len(toy.seen) == 3)
        out = await read(settings.kafka, RESULTS, lambda records: len(records) >= 3)
    assert [(r.key, r.value, r.headers) for r in toy.seen] == sent
    assert [r.position for r in toy.seen] == [f"requests-0-{offset}" for offset in range(3)]
    assert all(abs(r.timestamp - toy.seen[0].timestamp) < 5 for r in toy.seen)
    assert toy.seen[0].timestamp > 1_700_000_000
    assert {(r.key, r.value, r.headers) for r in out} == set(sent)


async def test_a_handler_that_raises_is_reported_and_the_partition_goes_on(
    settings: Settings,
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        if int(record.value or b"") % 3 == 0:
            raise ValueError("bad")
        return [passed_on(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(30))
    async with running(Toy(handle), settings) as runner:
        out = await read(settings.kafka, RESULTS, lambda records: len(records) >= 20)
        bugs = await read(settings.kafka, ERRORS, lambda records: len(records) >= 10)
        assert runner.failure() is None
        assert await committed(settings.kafka, "toy", REQUESTS) == {0: 15, 1: 15}
    assert values(out) == [number for number in range(30) if number % 3]
    assert len(bugs) == 10
    assert all(b"ValueError('bad')" in record.value for record in bugs)


async def test_a_record_that_kafka_never_takes_becomes_a_bug(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        size = 3_000_000 if record.value == b"1" else 1
        return [Outgoing(RESULTS, record.key, b"7" * size)]

    await produce_numbers(settings.kafka, REQUESTS, [0, 1, 2, 3])
    async with running(Toy(handle), settings) as runner:
        out = await read(settings.kafka, RESULTS, lambda records: len(records) >= 3)
        [bug] = await read(settings.kafka, ERRORS, lambda records: len(records) >= 1)
        assert runner.failure() is None
    assert len(out) == 3
    assert b"too large" in bug.value


async def test_the_largest_record_that_a_client_can_write_does_not_block_its_partition(
    settings: Settings,
) -> None:
    """It cannot be wrapped in anything that Kafka takes."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        if len(record.value or b"") > 10:
            raise ValueError("bad")
        return [passed_on(record)]

    toy = Toy(handle)
    toy.stage = Stage(
        "toy",
        (REQUESTS,),
        open=toy.open,
        on_bug=lambda record, _: [Outgoing(ERRORS, record.key, b"%s wrapped" % record.value)],
    )
    await make_topics(settings.kafka, DEADLETTERS)
    await produce(settings.kafka, REQUESTS, [(b"k", b"x" * 2_097_060, (), 0), (b"k", b"1", (), 0)])
    async with running(toy, settings) as runner:
        await read(settings.kafka, RESULTS, lambda found: bool(found or runner.failure()))
        assert runner.failure() is None
        [letter] = await read(settings.kafka, DEADLETTERS, lambda records: len(records) >= 1)
    assert dict(letter.headers)["clipmill_origin_offset"] == b"0"


async def test_a_slow_head_stops_nobody_and_is_not_committed_past(settings: Settings) -> None:
    release = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        if record.value == b"0":
            await release.wait()
        return [passed_on(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(100))
    async with running(Toy(handle), settings):
        out = await read(settings.kafka, RESULTS, lambda records: len(records) >= 99)
        assert values(out) == list(range(1, 100))
        await asyncio.sleep(3)
        offsets = await committed(settings.kafka, "toy", REQUESTS)
        assert offsets.get(0, 0) == 0, "committed past the slow head"
        assert offsets[1] == 50
        release.set()
        await asyncio.sleep(0.7)
        assert await committed(settings.kafka, "toy", REQUESTS) == {0: 50, 1: 50}


async def test_a_slow_record_in_the_middle_is_not_committed_past(settings: Settings) -> None:
    release = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        if record.value in {b"6", b"14"}:
            await release.wait()
        return ()

    toy = Toy(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(0, 40, 2))
    async with running(toy, settings):
        await until(lambda: len(toy.seen) == 20)
        await asyncio.sleep(1)
        assert (await committed(settings.kafka, "toy", REQUESTS))[0] == 3
    assert (await committed(settings.kafka, "toy", REQUESTS))[0] == 3, "a stop commits no more"


async def test_a_row_is_written_seen_and_recovered(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        number = int(record.value or b"")
        row = None if number == 3 else record.value
        return [TableWrite("rows", f"k{number % 10}", row)]

    await produce_numbers(settings.kafka, REQUESTS, [1, 2, 3, 13, 12])
    await produce_numbers(settings.kafka, REQUESTS, [3])
    toy = Toy(handle, table=True)
    expected = {"k1": b"1", "k2": b"12"}
    async with running(toy, settings) as runner:
        await until(lambda: len(toy.seen) == 6)
        await asyncio.sleep(0.3)
        assert dict(runner.tables["rows"].items()) == expected
    second = Toy(handle, table=True)
    async with running(second, settings) as runner:
        assert dict(runner.tables["rows"].items()) == expected
        assert second.seen == [], "what is committed is not read again"


async def test_a_row_of_a_partition_that_moved_is_not_kept_by_the_old_owner(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        return [TableWrite("rows", (record.key or b"").decode(), record.value)]

    first, second = Toy(handle, table=True), Toy(handle, table=True)
    await produce_numbers(settings.kafka, REQUESTS, range(10))
    async with running(first, settings) as one:
        await until(lambda: len(one.tables["rows"]) == 10)
        async with running(second, beside(settings, tmp_path)) as other:
            await until(one.ready.is_set)
            await asyncio.sleep(0.5)
            rows = [dict(each.tables["rows"].items()) for each in (one, other)]
            assert sorted(rows[0] | rows[1]) == [f"k{number}" for number in range(10)]
            assert not rows[0].keys() & rows[1].keys(), "both would clean up the same rows"


async def test_workers_know_their_share_of_the_partitions(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(_record: Incoming) -> Sequence[Effect]:
        return ()

    def shares() -> list[float]:
        return [each.context.share() for each in (first, second) if each.context is not None]

    first, second = Toy(handle), Toy(handle)
    async with running(first, settings):
        assert shares() == [1.0]
        async with running(second, beside(settings, tmp_path)):
            await until(lambda: max(shares()) < 1)
            assert sum(shares()) == 1.0
        await until(lambda: shares()[0] == 1.0)


ENOUGH_TO_JOIN = 20
"""Records after which the first of two runners waits for the second."""


async def test_a_second_runner_joins_in_the_middle_of_slow_work(
    settings: Settings, tmp_path: Path
) -> None:
    joined = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.05)
        if len(first.seen) > ENOUGH_TO_JOIN:
            await joined.wait()
        return [passed_on(record)]

    first, second = Toy(handle), Toy(handle)
    small = with_stage(settings, concurrency=4)
    await produce_numbers(settings.kafka, REQUESTS, range(200))
    async with running(first, small) as one:
        await until(lambda: len(first.seen) > ENOUGH_TO_JOIN)
        async with running(second, beside(small, tmp_path)) as other:
            joined.set()
            out = await read(
                settings.kafka, RESULTS, lambda records: len(set(values(records))) >= 200
            )
            assert one.failure() is None
            assert other.failure() is None
        assert second.seen, "the second one got its share"
    assert set(values(out)) == set(range(200))
    assert len(out) < 300, "a rebalance repeats little"


async def test_a_runner_that_leaves_gives_its_work_to_the_other(
    settings: Settings, tmp_path: Path
) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.05)
        return [passed_on(record)]

    first, second = Toy(handle), Toy(handle)
    small = with_stage(settings, concurrency=4)
    async with running(first, small) as one:
        async with running(second, beside(small, tmp_path)):
            await until(one.ready.is_set)
            await produce_numbers(settings.kafka, REQUESTS, range(150))
            await until(lambda: len(second.seen) > 10)
        out = await read(settings.kafka, RESULTS, lambda found: len(set(values(found))) >= 150)
        assert one.failure() is None
    assert set(values(out)) == set(range(150))


async def test_a_runner_that_is_cancelled_leaves_its_records_to_the_next(
    settings: Settings,
) -> None:
    async def stuck(record: Incoming) -> Sequence[Effect]:
        if int(record.value or b"") >= 10:
            await asyncio.Event().wait()
        return [passed_on(record)]

    rarely = settings.kafka.model_copy(update={"commit_interval_seconds": 60})

    async def work(toy: Toy) -> None:
        async with running(toy, settings.model_copy(update={"kafka": rarely})):
            await asyncio.Event().wait()

    await produce_numbers(settings.kafka, REQUESTS, range(40))
    first = Toy(stuck)
    task = asyncio.create_task(work(first))
    await until(lambda: len(first.seen) == 40)
    await read(settings.kafka, RESULTS, lambda found: len(found) >= 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert first.closed == 1

    async def handle(record: Incoming) -> Sequence[Effect]:
        return [passed_on(record)]

    async with running(Toy(handle), settings):
        out = await read(settings.kafka, RESULTS, lambda found: len(set(values(found))) >= 40)
    assert set(values(out)) == set(range(40))
    assert len(out) == 40, "what was finished was committed at the stop"


async def test_work_is_finished_on_a_stop_within_the_grace(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        await asyncio.sleep(0.5)
        return [passed_on(record)]

    toy = Toy(handle, drains=True)
    await produce_numbers(settings.kafka, REQUESTS, range(10))
    async with running(toy, settings):
        await until(lambda: len(toy.seen) == 10)
    out = await read(settings.kafka, RESULTS, lambda found: len(found) >= 10)
    assert values(out) == list(range(10))
    assert await committed(settings.kafka, "toy", REQUESTS) == {0: 5, 1: 5}


async def test_a_window_smaller_than_the_backlog_loses_nothing(settings: Settings) -> None:
    held: list[int] = []

    async def handle(record: Incoming) -> Sequence[Effect]:
        held.append(len(runner.flow))
        await asyncio.sleep(0.001)
        return [passed_on(record)]

    await produce_numbers(settings.kafka, REQUESTS, range(300))
    async with running(Toy(handle), with_stage(settings, window=3)) as runner:
        out = await read(settings.kafka, RESULTS, lambda found: len(found) >= 300)
    assert values(out) == list(range(300))
    assert max(held) <= 3


async def test_supplements_are_sent_beside_the_work(settings: Settings) -> None:
    async def handle(record: Incoming) -> Sequence[Effect]:
        assert toy.context is not None
        toy.context.supplement(Outgoing(PROGRESS, record.key, b"half"))
        return [passed_on(record)]

    toy = Toy(handle)
    await produce_numbers(settings.kafka, REQUESTS, range(3))
    async with running(toy, settings):
        found = await read(settings.kafka, PROGRESS, lambda records: len(records) >= 3)
    assert [record.value for record in found] == [b"half"] * 3
