"""Replay of dead letters on a real broker: interruptions lose and duplicate none."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result

from streams.cli import cli
from streams.cluster.connection import ClusterUnavailableError
from streams.deadletters.dead_letter import DeadLetterRecord, Filter
from streams.deadletters.headers import REPLAY_OF, REPLAYS, make_dead_letter
from streams.deadletters.plan import ReplayPlan, Totals
from streams.deadletters.replay import (
    Replay,
    ReplayFencedError,
    ReplayRateLimiter,
    open_replay_producer,
)
from streams.deadletters.store import DeadLetterStore, UnknownDeadLetterError
from streams.records import Header, Incoming
from streams.settings import KafkaSettings
from streams.topics import DEADLETTERS, MARKS, REQUESTS, VALIDATED
from tests.integration.kafka_client import create_topics, produce, read

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADERS: tuple[Header, ...] = (("a", b"1"), ("a", b"\xff"), ("traceparent", b"00-x"))


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _topics(kafka: KafkaSettings) -> None:
    await create_topics(kafka, DEADLETTERS, VALIDATED, REQUESTS)
    await create_topics(kafka, MARKS, partitions=1)


def record(number: int, headers: tuple[Header, ...] = HEADERS) -> Incoming:
    value = b"\x00\xff%d" % number
    return Incoming(VALIDATED.name, 0, number, b"k%d" % number, value, headers, 1.5)


async def publish_dead_letters(
    kafka: KafkaSettings, *records: Incoming, code: str = "internal.bug"
) -> None:
    published = [
        make_dead_letter(each, step="extraction", code=code, reason="no") for each in records
    ]
    await produce(kafka, DEADLETTERS, [(x.key, x.value, x.headers, None) for x in published])


async def dead_letters(kafka: KafkaSettings) -> list[DeadLetterRecord]:
    return [dead_letter async for dead_letter in DeadLetterStore(kafka).dead_letters()]


async def states(kafka: KafkaSettings) -> list[str]:
    return sorted(dead_letter.state(1) for dead_letter in await dead_letters(kafka))


async def replayed_records(kafka: KafkaSettings, count: int) -> list[Any]:
    return await read(kafka, VALIDATED, lambda records: len(records) >= count)


class KilledError(Exception):
    pass


class KilledProducer:
    """A producer whose process is killed at its nth record: the transaction stays open."""

    def __init__(self, producer: AIOKafkaProducer, call: int) -> None:
        self._producer, self._call = producer, call
        self._calls = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self._producer.begin_transaction()
        yield
        await self._producer.commit_transaction()

    async def send(self, *args: Any, **record: Any) -> Any:
        self._calls += 1
        sent = await self._producer.send(*args, **record)
        if self._calls == self._call:
            await sent
            raise KilledError
        return sent


async def replay(
    kafka: KafkaSettings,
    plan: ReplayPlan | None = None,
    *,
    rate: float = 1_000,
    killed_at: int | None = None,
) -> Totals:
    async with open_replay_producer(kafka) as producer:
        used: Any = KilledProducer(producer, killed_at) if killed_at else producer
        run = Replay(
            DeadLetterStore(kafka),
            used,
            topic_prefix=kafka.topic_prefix,
            limiter=ReplayRateLimiter(rate),
        )
        return await run.run(plan or ReplayPlan(Filter(), by="me"))


async def test_replay_republishes_records_unchanged_at_the_given_rate(
    kafka: KafkaSettings,
) -> None:
    await publish_dead_letters(kafka, *map(record, range(500)))
    started = asyncio.get_running_loop().time()
    totals = await replay(kafka, rate=250)
    assert asyncio.get_running_loop().time() - started > 1.5
    assert totals.replayed == 500
    found = await replayed_records(kafka, 500)
    assert len(found) == 500
    names = {each.value: each.id for each in await dead_letters(kafka)}
    originals = {each.value: each for each in map(record, range(500))}
    for each in found:
        original = originals.pop(each.value)
        replayed = ((REPLAYS, b"1"), (REPLAY_OF, names[each.value].encode()))
        assert (each.key, each.headers) == (original.key, (*HEADERS, *replayed))
    assert originals == {}
    assert await states(kafka) == ["replayed"] * 500
    assert (await replay(kafka)).replayed == 0


@pytest.mark.parametrize("record_number", [1, 3, 4, 6, 7, 12])
async def test_interrupted_replay_loses_and_duplicates_nothing(
    kafka: KafkaSettings, record_number: int
) -> None:
    await publish_dead_letters(kafka, *map(record, range(6)))
    with pytest.raises(KilledError):
        await replay(kafka, rate=3, killed_at=record_number)
    await replay(kafka)
    found = await replayed_records(kafka, 6)
    assert sorted(each.value for each in found) == [record(number).value for number in range(6)]
    assert await states(kafka) == ["replayed"] * 6


async def test_filter_and_limit_select_the_replayed_dead_letters(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, record(1), code="network.dns")
    await publish_dead_letters(kafka, record(2), record(3), code="internal.bug")
    plan = ReplayPlan(Filter(codes=("internal",)), limit=1)
    assert (await replay(kafka, plan)).replayed == 1
    assert await states(kafka) == ["replayed", "waiting", "waiting"]


async def test_finished_replay_is_visible_to_the_next_reader(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, record(1))
    other = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id="other")
    async with other, asyncio.TaskGroup() as tasks:
        await other.begin_transaction()
        await other.send_and_wait(MARKS.kafka_name(kafka.topic_prefix), b"", b"0-9")

        async def commit_later() -> None:
            await asyncio.sleep(0.5)
            await other.commit_transaction()

        tasks.create_task(commit_later())
        await replay(kafka)
        assert await states(kafka) == ["replayed"]


async def test_dead_letter_that_fails_again_is_parked_until_forced(kafka: KafkaSettings) -> None:
    again = record(1, (*HEADERS, (REPLAYS, b"1"), (REPLAY_OF, b"0-7")))
    await publish_dead_letters(kafka, again)
    totals = await replay(kafka)
    assert (totals.replayed, sum(totals.skipped.values())) == (0, 1)
    assert await states(kafka) == ["parked"]
    assert (await replay(kafka, ReplayPlan(Filter(), force=True))).replayed == 1
    [found] = await replayed_records(kafka, 1)
    [dead_letter] = await dead_letters(kafka)
    assert found.headers == (*HEADERS, (REPLAYS, b"2"), (REPLAY_OF, dead_letter.id.encode()))


async def test_duplicate_dead_letter_is_replayed_once(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, record(1), record(1))
    assert (await replay(kafka)).replayed == 1
    assert len(await replayed_records(kafka, 1)) == 1
    assert (await replay(kafka)).replayed == 0


async def _replay_twice(kafka: KafkaSettings) -> None:
    async with open_replay_producer(kafka) as first:
        older = Replay(
            DeadLetterStore(kafka),
            first,
            topic_prefix=kafka.topic_prefix,
            limiter=ReplayRateLimiter(2),
        )
        await older.run(ReplayPlan(Filter(), limit=2))
        assert (await replay(kafka, ReplayPlan(Filter(), limit=1))).replayed == 1
        await older.run(ReplayPlan(Filter()))


async def test_newer_replay_fences_a_running_one(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, *map(record, range(4)))
    with pytest.raises(ReplayFencedError, match="a newer replay fenced this one"):
        await _replay_twice(kafka)
    assert await states(kafka) == ["replayed"] * 3 + ["waiting"]
    assert (await replay(kafka)).replayed == 1
    assert len(await replayed_records(kafka, 4)) == 4


async def test_foreign_dead_letter_is_listed_and_not_replayed(kafka: KafkaSettings) -> None:
    await produce(kafka, DEADLETTERS, [(None, b"x", (("own", b"1"),), None)])
    totals = await replay(kafka)
    assert totals.replayed == 0
    [dead_letter] = await dead_letters(kafka)
    assert dead_letter.headers == (("own", b"1"),)
    assert dead_letter.metadata.failed_at <= datetime.now(UTC)


async def test_cluster_without_dead_letter_topics_is_named(kafka: KafkaSettings) -> None:
    other = kafka.model_copy(update={"topic_prefix": "nothing."})
    with pytest.raises(ClusterUnavailableError, match="topics apply"):
        await DeadLetterStore(other).require_topics()


async def test_dead_letters_are_found_at_their_positions(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, *map(record, range(20)))
    expected = {each.id: each for each in await dead_letters(kafka)}
    store = DeadLetterStore(kafka)
    assert await store.find(list(expected)) == list(expected.values())
    position, _, timestamp = next(iter(expected)).rpartition("-")
    for name in ("0-20-1", "9-9-9", "9-9", "", f"{position}-{int(timestamp) + 1}"):
        with pytest.raises(UnknownDeadLetterError, match=f"no such dead letter, .*: {name};"):
            await store.find([name])


async def run_cli(kafka: KafkaSettings, *arguments: str) -> Result:
    where = {
        "CLIPMILL_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    }
    command = ["deadletters", *arguments, "--bootstrap", kafka.bootstrap]
    return await asyncio.to_thread(CliRunner().invoke, cli, command, env=where)


async def test_operator_lists_shows_replays_and_resolves(kafka: KafkaSettings) -> None:
    await publish_dead_letters(kafka, record(1), code="internal.bug")
    await publish_dead_letters(kafka, record(2), code="network.dns")
    listed = await run_cli(kafka, "list", "--json")
    ids = {line["code"]: line["id"] for line in map(json.loads, listed.output.splitlines())}
    assert "2 of 2" in (await run_cli(kafka, "list")).output
    shown = await run_cli(kafka, "show", ids["network.dns"])
    assert f"clipmill deadletters replay {ids['network.dns']}" in shown.output
    assert (
        "1 would be replayed"
        in (await run_cli(kafka, "replay", "--dry-run", "--code", "internal")).output
    )
    assert await states(kafka) == ["waiting", "waiting"]
    replayed = await run_cli(kafka, "replay", ids["internal.bug"])
    assert replayed.exit_code == 0, replayed.output
    assert replayed.output.endswith("1 replayed\n")
    resolved = await run_cli(kafka, "resolve", ids["network.dns"], "--note", "known")
    assert resolved.exit_code == 0, resolved.output
    assert await states(kafka) == ["replayed", "resolved"]
    again = await run_cli(kafka, "resolve", *ids.values())
    assert "no dead letter was resolved" in again.output
    for act in ("show", "replay", "resolve"):
        assert (
            "no such dead letter, or excluded by the filter: 9-9"
            in (await run_cli(kafka, act, "9-9")).output
        )
