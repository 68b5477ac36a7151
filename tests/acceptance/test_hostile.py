"""Every record of the requests topic has its own outcome, and no other effect.

All records are published before the first test; the worker's health is checked at the end.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, ConsumerRecord
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.request import Options, Request
from streams.topics import (
    AUDIT,
    DEADLETTERS,
    DELAYS,
    ERRORS,
    EXTRACTED,
    REQUESTS,
    SELECTED,
    VALIDATED,
    Topic,
)
from tests.acceptance.client import Message, PipelineClient, page, record_id
from tests.acceptance.hostile_records import (
    BAD_LINKS,
    GOOD,
    HARMLESS,
    HOSTILE_RECORDS,
    ODD_REQUESTS,
    to_json,
)
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 200
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
BATCH = [f"https://127.0.0.1/{number}" for number in range(999)] + [GOOD]
INTERNAL = (VALIDATED, EXTRACTED, SELECTED, ERRORS, AUDIT, *DELAYS)
GARBAGE = (b"\xff\x00garbage", b"{}", b"[]", b'{"job": {"request_id": "\\ud800"}}', None)


class RecordPublisher:
    """Publishes any record to any topic and reports its position.

    All records have one timestamp: aiokafka reports that of the first one for a whole batch.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._now = int(time.time() * 1000)

    async def publish(
        self, value: bytes | None, topic: Topic = REQUESTS, **fields: Any
    ) -> "asyncio.Future[Any]":
        """Return the future of the record's metadata."""
        name = topic.kafka_name()
        metadata: asyncio.Future[Any] = await self._producer.send(
            name, value, timestamp_ms=self._now, **fields
        )
        return metadata


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def publisher(pipeline: PipelineProcess) -> AsyncIterator[RecordPublisher]:
    async with AIOKafkaProducer(
        bootstrap_servers=pipeline.bootstrap, acks="all", max_request_size=3_000_000, linger_ms=5
    ) as producer:
        yield RecordPublisher(producer)


class ConnectionWatch:
    """Samples the connections of a worker and its children and records addresses off loopback."""

    def __init__(self, pid: int) -> None:
        self._worker = psutil.Process(pid)
        self.samples = 0
        self.outside_addresses: set[str] = set()

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self._sample)
            await asyncio.sleep(0.2)

    def _sample(self) -> None:
        self.samples += 1
        for process in (self._worker, *self._worker.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for each in process.net_connections("inet"):
                    ends = {end.ip for end in (each.laddr, each.raddr) if end}
                    self.outside_addresses |= ends - LOOPBACK


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def connection_watch(pipeline: PipelineProcess) -> AsyncIterator[ConnectionWatch]:
    connection_watch = ConnectionWatch(pipeline.workers[0].pid)
    task = asyncio.create_task(connection_watch.run())
    yield connection_watch
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


DefaultIds = dict[str, str]
"""Default request id of each record by its name."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def default_ids(
    pipeline: PipelineProcess,  # noqa: ARG001
    publisher: RecordPublisher,
    connection_watch: ConnectionWatch,  # noqa: ARG001
) -> DefaultIds:
    """Publish everything; return the default ids."""
    futures = {
        each.name: await publisher.publish(each.value, key=each.key, headers=list(each.headers))
        for each in HOSTILE_RECORDS
    }
    for number, each in enumerate(HOSTILE_URLS):
        body = {"id": f"url-{number}", "url": each.url}
        futures[f"url: {each.name}"] = await publisher.publish(to_json(body))
    for kind, url in BAD_LINKS.items():
        futures[f"link: {kind}"] = await publisher.publish(
            to_json({"id": f"link-{kind}", "url": url})
        )
    for number, headers in enumerate(HARMLESS.values()):
        body = {"id": f"harmless-{number}", "url": GOOD, "action": "info"}
        futures[f"harmless: {number}"] = await publisher.publish(
            to_json(body), headers=list(headers)
        )
    batch = {"id": "many", "urls": BATCH, "action": "info"}
    futures["batch"] = await publisher.publish(to_json(batch))
    default_ids = {name: await future for name, future in futures.items()}
    return {name: record_id(REQUESTS, metadata) for name, metadata in default_ids.items()}


@pytest.fixture(autouse=True)
def _published(default_ids: DefaultIds) -> None:
    """Publish everything before any test of this module."""


async def test_records_are_many_and_uniquely_named() -> None:
    assert len(HOSTILE_RECORDS) + len(HOSTILE_URLS) >= 400
    assert len({each.name for each in HOSTILE_RECORDS}) == len(HOSTILE_RECORDS)


def differences(result: Message, status: str, code: str, field: str) -> list[str]:
    """Return the differences of a rejection from the expected one."""
    error = result.get("error") or {}
    details = error.get("technical_details", {})
    found = [] if result["status"] == status else [f"status {result['status']}, not {status}"]
    if error.get("error_type") != code:
        found.append(f"{error.get('error_type')}, not {code}")
    if not str(details.get("field", "")).startswith(field):
        found.append(f"field {details.get('field')!r}, not {field}")
    if not details.get("reason") or not error.get("user_message"):
        found.append("no reason")
    if len(json.dumps(result)) > 20_000:
        found.append(f"{len(json.dumps(result))} bytes")
    return found


async def test_hostile_record_is_rejected_with_field_and_reason(
    client: PipelineClient, default_ids: DefaultIds
) -> None:
    names = {each.name: each.result_id or default_ids[each.name] for each in HOSTILE_RECORDS}
    await client.wait_for(list(names.values()), 60)
    wrong = {
        each.name: found
        for each in HOSTILE_RECORDS
        if (
            found := differences(
                await client.outcome(names[each.name]), each.status, each.code, each.field
            )
        )
    }
    assert wrong == {}


async def test_hostile_link_is_rejected_with_its_code(client: PipelineClient) -> None:
    names = {f"url-{number}": each for number, each in enumerate(HOSTILE_URLS)}
    await client.wait_for(list(names), 60)
    wrong = {}
    for name, each in names.items():
        if name in WITH_HALF_SURROGATES:
            continue
        found = differences(await client.outcome(name), "rejected", each.code, "$")
        if found:
            wrong[each.name] = found
    assert wrong == {}


def _is_decodable(url: object) -> bool:
    try:
        orjson.loads(to_json({"url": url}))
    except orjson.JSONDecodeError:
        return False
    return True


WITH_HALF_SURROGATES = {
    f"url-{n}" for n, each in enumerate(HOSTILE_URLS) if not _is_decodable(each.url)
}
"""Ids of requests whose links hold half of a surrogate pair."""


async def test_link_with_half_surrogate_pair_is_rejected_under_its_id(
    client: PipelineClient,
) -> None:
    assert WITH_HALF_SURROGATES
    for name in WITH_HALF_SURROGATES:
        found = differences(await client.outcome(name), "rejected", "request.invalid", "$.url")
        assert found == [], name


async def test_unusual_requests_complete(
    client: PipelineClient, publisher: RecordPublisher
) -> None:
    for value in ODD_REQUESTS.values():
        await publisher.publish(value)
    for name in ODD_REQUESTS:
        assert (await client.outcome(name))["status"] == "completed"
    assert (await client.outcome("both-halves"))["attributes"] == {"a": "😀"}


async def test_misdirected_short_links_fail(client: PipelineClient) -> None:
    codes = {}
    for kind in BAD_LINKS:
        result = await client.outcome(f"link-{kind}")
        assert result["status"] == "failed", result
        assert result["error"]["technical_details"]["field"] == "$.url"
        codes[kind] = result["error"]["error_type"]
    assert codes == {
        "dead": "content.not_found",
        "home": "content.not_found",
        "login": "content.login_required",
        **dict.fromkeys(("loop", "outside", "loopback", "live"), "content.unsupported"),
    }


async def test_undecodable_records_are_dead_lettered_unchanged(
    client: PipelineClient, default_ids: DefaultIds
) -> None:
    await client.wait_for(
        [each.result_id or default_ids[each.name] for each in HOSTILE_RECORDS], 60
    )
    dead_letters = {
        origin(dead_letter): dead_letter for dead_letter in await client.records(DEADLETTERS)
    }
    for each in HOSTILE_RECORDS:
        dead_letter = dead_letters.get(default_ids[each.name])
        assert (dead_letter is not None) == each.dead_lettered, each.name
        if dead_letter is not None:
            assert (dead_letter.key, dead_letter.value) == (each.key, each.value), each.name
            assert tuple(dead_letter.headers)[: len(each.headers)] == each.headers, each.name
            assert dict(dead_letter.headers)["clipmill_reason"], each.name


def origin(dead_letter: ConsumerRecord) -> str:
    headers = dict(dead_letter.headers)
    parts = ("topic", "partition", "offset")
    position = "-".join(headers.get(f"clipmill_origin_{part}", b"").decode() for part in parts)
    return f"{position}-{round(float(headers['clipmill_origin_timestamp']) * 1000)}"


async def test_batch_of_1000_urls_gets_1000_outcomes(client: PipelineClient) -> None:
    names = [f"many/{index}" for index in range(len(BATCH))]
    await client.wait_for(names, 60)
    results = [await client.outcome(name) for name in names]
    assert [each["status"] for each in results] == ["rejected"] * 999 + ["completed"]
    assert [each["batch_index"] for each in results] == list(range(1_000))
    summary = await client.summary("many")
    assert (summary["counts"]["rejected"], summary["counts"]["completed"]) == (999, 1)
    print(f"\nsummary {summary['_seen_at'] - max(e['_seen_at'] for e in results):.1f} s later")
    assert results[998]["error"]["technical_details"]["field"] == "$.urls[998]"


@pytest.mark.parametrize("name", HARMLESS)
async def test_unusual_headers_are_ignored(name: str, client: PipelineClient) -> None:
    result = await client.outcome(f"harmless-{list(HARMLESS).index(name)}")
    assert result["status"] == "completed", result
    assert len(result["trace_id"]) == 32


# Generated records

_names = {*Request.__struct_fields__, *Options.__struct_fields__, "data", "job"} - {"id"}
_known = st.sampled_from(sorted(_names))
_links = st.sampled_from([each.url for each in HOSTILE_URLS if len(str(each.url)) < 500])
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | _links
)
_bodies = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(_known | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)
_requests = st.fixed_dictionaries(
    {},
    optional={
        "url": _links | _leaves,
        "urls": st.lists(_links | _leaves, max_size=4),
        "action": st.sampled_from(["download", "info"]) | _leaves,
        "options": st.dictionaries(st.sampled_from(Options.__struct_fields__), _leaves) | _leaves,
        "deadline": st.datetimes().map(str) | _leaves,
        "attributes": st.dictionaries(st.text(max_size=3), st.text(max_size=9) | _leaves),
        "priority": st.integers(0, 9) | _leaves,
    },
)
_values = st.binary(max_size=200) | (_bodies | _requests | _requests).map(to_json)
_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_type", "ce_id", "ce_expirytime", "content-type", "traceparent", "x"]),
        st.binary(max_size=20)
        | st.sampled_from([b"application/cloudevents+json", b"io.clipmill.link.pending.v1"]),
    ),
    max_size=3,
)


def generated_records() -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    found: list[tuple[bytes, list[tuple[str, bytes]]]] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_values, _headers)
    def collect(value: bytes, headers: list[tuple[str, bytes]]) -> None:
        found.append((value, headers))

    collect()
    return iter(found)


async def test_each_generated_record_gets_an_outcome(
    client: PipelineClient, publisher: RecordPublisher
) -> None:
    published = {}
    for value, headers in generated_records():
        metadata = await (await publisher.publish(value, headers=headers))
        published[record_id(REQUESTS, metadata)] = value
    assert len(published) >= EXAMPLES
    seen = await wait_for_outcomes(client, published)
    kinds = {name: {each["status"] for each in outcomes} for name, outcomes in seen.items()}
    unexpected = {
        published[name]: kind for name, kind in kinds.items() if kind - {"rejected", "expired"}
    }
    assert unexpected == {}
    print(f"{len(published)} generated records, {sum(map(len, seen.values()))} outcomes")


async def wait_for_outcomes(
    client: PipelineClient, published: dict[str, bytes]
) -> dict[str, list[Message]]:
    """Wait for the outcomes of each record: its own, or those of its batch members."""
    deadline = time.monotonic() + 30
    while True:
        outcomes: dict[str, list[Message]] = {}
        for name, results in (await client.pipeline.read_results(0.2)).items():
            outcomes.setdefault(name.partition("/")[0], []).append(results[0])
        missing = {name: value for name, value in published.items() if name not in outcomes}
        if not missing:
            return {name: outcomes[name] for name in published}
        assert time.monotonic() < deadline, missing


# Other topics


async def test_garbage_on_internal_topics_becomes_dead_letters(
    client: PipelineClient, publisher: RecordPublisher
) -> None:
    default_ids = {}
    for topic in INTERNAL:
        for value in GARBAGE:
            metadata = await (await publisher.publish(value, topic, key=b"garbage"))
            default_ids[record_id(topic, metadata)] = value
    async with asyncio.timeout(30):
        while True:
            dead_letters = {origin(each): each.value for each in await client.records(DEADLETTERS)}
            if default_ids.keys() <= dead_letters.keys():
                break
    assert {name: dead_letters[name] for name in default_ids} == default_ids


# Final state


async def test_good_request_still_completes(client: PipelineClient) -> None:
    result = await client.request(page(video_id("kilobytes", param=16, serial=1)))
    assert result["status"] == "completed"


async def test_nothing_crashed_and_no_outside_host_was_connected(
    client: PipelineClient, pipeline: PipelineProcess, connection_watch: ConnectionWatch
) -> None:
    assert pipeline.workers[0].running()
    metrics = await client.metrics()
    assert metrics["clipmill_stage_bugs_total"] == 0
    assert metrics["clipmill_stage_restarts_total"] == 0
    assert metrics["clipmill_engine_restarts"] == 0
    assert pipeline.standin.counters()["refused_hosts"] == {}
    assert connection_watch.samples > 3
    assert connection_watch.outside_addresses == set()
