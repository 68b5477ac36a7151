"""Whatever is written to the requests topic has its own outcome, and nothing else comes of it.

Everything is published when the first test begins; in the end the worker is as it was.
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
from tests.acceptance.desk import Desk, Message, page, record_id
from tests.acceptance.hostile_records import (
    BAD_LINKS,
    GOOD,
    HARMLESS,
    HOSTILE_RECORDS,
    ODD_REQUESTS,
    written,
)
from tests.house import House
from tests.standin import video_id
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 200
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
BATCH = [f"https://127.0.0.1/{number}" for number in range(999)] + [GOOD]
INTERNAL = (VALIDATED, EXTRACTED, SELECTED, ERRORS, AUDIT, *DELAYS)
GARBAGE = (b"\xff\x00garbage", b"{}", b"[]", b'{"job": {"request_id": "\\ud800"}}', None)


class Post:
    """Writes any record to any topic, and knows where each one came to lie.

    All have one timestamp: aiokafka reports that of the first record for all of a batch.
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._now = int(time.time() * 1000)

    async def write(
        self, value: bytes | None, topic: Topic = REQUESTS, **fields: Any
    ) -> "asyncio.Future[Any]":
        """Return the future of the record's place."""
        name = topic.kafka_name()
        place: asyncio.Future[Any] = await self._producer.send(
            name, value, timestamp_ms=self._now, **fields
        )
        return place


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def post(house: House) -> AsyncIterator[Post]:
    async with AIOKafkaProducer(
        bootstrap_servers=house.bootstrap, acks="all", max_request_size=3_000_000, linger_ms=5
    ) as producer:
        yield Post(producer)


class Watch:
    """Notes every connection of a worker and its children that leads off this machine."""

    def __init__(self, pid: int) -> None:
        self._worker = psutil.Process(pid)
        self.samples = 0
        self.strangers: set[str] = set()

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(0.2)

    def _look(self) -> None:
        self.samples += 1
        for process in (self._worker, *self._worker.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for each in process.net_connections("inet"):
                    ends = {end.ip for end in (each.laddr, each.raddr) if end}
                    self.strangers |= ends - LOOPBACK


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def watch(house: House) -> AsyncIterator[Watch]:
    watch = Watch(house.workers[0].pid)
    task = asyncio.create_task(watch.run())
    yield watch
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


Places = dict[str, str]
"""The place of each record by its name, as requests without an id are named after it."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def places(house: House, post: Post, watch: Watch) -> Places:  # noqa: ARG001
    """Everything is published."""
    futures = {
        each.name: await post.write(each.value, key=each.key, headers=list(each.headers))
        for each in HOSTILE_RECORDS
    }
    for number, each in enumerate(HOSTILE_URLS):
        body = {"id": f"url-{number}", "url": each.url}
        futures[f"url: {each.name}"] = await post.write(written(body))
    for kind, url in BAD_LINKS.items():
        futures[f"link: {kind}"] = await post.write(written({"id": f"link-{kind}", "url": url}))
    for number, headers in enumerate(HARMLESS.values()):
        body = {"id": f"harmless-{number}", "url": GOOD, "action": "info"}
        futures[f"harmless: {number}"] = await post.write(written(body), headers=list(headers))
    batch = {"id": "many", "urls": BATCH, "action": "info"}
    futures["batch"] = await post.write(written(batch))
    places = {name: await future for name, future in futures.items()}
    return {name: record_id(REQUESTS, place) for name, place in places.items()}


@pytest.fixture(autouse=True)
def _published(places: Places) -> None:
    """Every test of this module finds everything published."""


async def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE_RECORDS) + len(HOSTILE_URLS) >= 400
    assert len({each.name for each in HOSTILE_RECORDS}) == len(HOSTILE_RECORDS)


def complaints(result: Message, status: str, code: str, field: str) -> list[str]:
    """Return what is wrong with a refusal."""
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


async def test_every_hostile_record_is_refused_with_field_and_reason(
    desk: Desk, places: Places
) -> None:
    names = {each.name: each.told or places[each.name] for each in HOSTILE_RECORDS}
    await desk.wait_for(list(names.values()), 60)
    wrong = {
        each.name: found
        for each in HOSTILE_RECORDS
        if (
            found := complaints(
                await desk.outcome(names[each.name]), each.status, each.code, each.field
            )
        )
    }
    assert wrong == {}


async def test_every_hostile_link_is_refused_with_its_code(desk: Desk) -> None:
    names = {f"url-{number}": each for number, each in enumerate(HOSTILE_URLS)}
    await desk.wait_for(list(names), 60)
    wrong = {}
    for name, each in names.items():
        if name in HALVED:
            continue
        found = complaints(await desk.outcome(name), "rejected", each.code, "$")
        if found:
            wrong[each.name] = found
    assert wrong == {}


def _is_readable(url: object) -> bool:
    try:
        orjson.loads(written({"url": url}))
    except orjson.JSONDecodeError:
        return False
    return True


HALVED = {f"url-{n}" for n, each in enumerate(HOSTILE_URLS) if not _is_readable(each.url)}
"""Links with half of a surrogate pair."""


async def test_links_with_half_of_a_surrogate_pair_are_refused_under_their_id(desk: Desk) -> None:
    assert HALVED
    for name in HALVED:
        found = complaints(await desk.outcome(name), "rejected", "request.invalid", "$.url")
        assert found == [], name


async def test_odd_requests_are_done(desk: Desk, post: Post) -> None:
    for value in ODD_REQUESTS.values():
        await post.write(value)
    for name in ODD_REQUESTS:
        assert (await desk.outcome(name))["status"] == "completed"
    assert (await desk.outcome("both-halves"))["attributes"] == {"a": "😀"}


async def test_short_links_that_lead_astray_fail(desk: Desk) -> None:
    codes = {}
    for kind in BAD_LINKS:
        result = await desk.outcome(f"link-{kind}")
        assert result["status"] == "failed", result
        assert result["error"]["technical_details"]["field"] == "$.url"
        codes[kind] = result["error"]["error_type"]
    assert codes == {
        "dead": "content.not_found",
        "home": "content.not_found",
        "login": "content.login_required",
        **dict.fromkeys(("loop", "outside", "loopback", "live"), "content.unsupported"),
    }


async def test_what_cannot_be_read_is_kept_as_it_was(desk: Desk, places: Places) -> None:
    await desk.wait_for([each.told or places[each.name] for each in HOSTILE_RECORDS], 60)
    letters = {origin(letter): letter for letter in await desk.records(DEADLETTERS)}
    for each in HOSTILE_RECORDS:
        letter = letters.get(places[each.name])
        assert (letter is not None) == each.kept, each.name
        if letter is not None:
            assert (letter.key, letter.value) == (each.key, each.value), each.name
            assert tuple(letter.headers)[: len(each.headers)] == each.headers, each.name
            assert dict(letter.headers)["clipmill_reason"], each.name


def origin(letter: ConsumerRecord) -> str:
    headers = dict(letter.headers)
    parts = ("topic", "partition", "offset")
    position = "-".join(headers.get(f"clipmill_origin_{part}", b"").decode() for part in parts)
    return f"{position}-{round(float(headers['clipmill_origin_timestamp']) * 1000)}"


async def test_a_batch_of_a_thousand_has_a_thousand_outcomes(desk: Desk) -> None:
    names = [f"many/{index}" for index in range(len(BATCH))]
    await desk.wait_for(names, 60)
    results = [await desk.outcome(name) for name in names]
    assert [each["status"] for each in results] == ["rejected"] * 999 + ["completed"]
    assert [each["batch_index"] for each in results] == list(range(1_000))
    summary = await desk.summary("many")
    assert (summary["counts"]["rejected"], summary["counts"]["completed"]) == (999, 1)
    print(f"\nsummary {summary['_seen_at'] - max(e['_seen_at'] for e in results):.1f} s later")
    assert results[998]["error"]["technical_details"]["field"] == "$.urls[998]"


@pytest.mark.parametrize("name", HARMLESS)
async def test_odd_headers_change_nothing(name: str, desk: Desk) -> None:
    result = await desk.outcome(f"harmless-{list(HARMLESS).index(name)}")
    assert result["status"] == "completed", result
    assert len(result["trace_id"]) == 32


# Generated ones

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
_values = st.binary(max_size=200) | (_bodies | _requests | _requests).map(written)
_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_type", "ce_id", "ce_expirytime", "content-type", "traceparent", "x"]),
        st.binary(max_size=20)
        | st.sampled_from([b"application/cloudevents+json", b"io.clipmill.link.pending.v1"]),
    ),
    max_size=3,
)


def generated() -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
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


async def test_generated_records_have_an_outcome_each(desk: Desk, post: Post) -> None:
    sent = {}
    for value, headers in generated():
        place = await (await post.write(value, headers=headers))
        sent[record_id(REQUESTS, place)] = value
    assert len(sent) >= EXAMPLES
    seen = await until_ended(desk, sent)
    kinds = {name: {each["status"] for each in outcomes} for name, outcomes in seen.items()}
    unexpected = {
        sent[name]: kind for name, kind in kinds.items() if kind - {"rejected", "expired"}
    }
    assert unexpected == {}
    print(f"{len(sent)} generated records, {sum(map(len, seen.values()))} outcomes")


async def until_ended(desk: Desk, sent: dict[str, bytes]) -> dict[str, list[Message]]:
    """Return the outcomes of each record: one, or those of the members of its batch."""
    deadline = time.monotonic() + 30
    while True:
        outcomes: dict[str, list[Message]] = {}
        for name, results in (await desk.house.read_results(0.2)).items():
            outcomes.setdefault(name.partition("/")[0], []).append(results[0])
        missing = {name: value for name, value in sent.items() if name not in outcomes}
        if not missing:
            return {name: outcomes[name] for name in sent}
        assert time.monotonic() < deadline, missing


# Other topics


async def test_garbage_on_internal_topics_becomes_dead_letters(desk: Desk, post: Post) -> None:
    places = {}
    for topic in INTERNAL:
        for value in GARBAGE:
            place = await (await post.write(value, topic, key=b"garbage"))
            places[record_id(topic, place)] = value
    async with asyncio.timeout(30):
        while True:
            letters = {origin(each): each.value for each in await desk.records(DEADLETTERS)}
            if places.keys() <= letters.keys():
                break
    assert {name: letters[name] for name in places} == places


# In the end


async def test_a_good_request_is_done_as_ever(desk: Desk) -> None:
    result = await desk.ask(page(video_id("kilobytes", param=16, serial=1)))
    assert result["status"] == "completed"


async def test_nothing_crashed_and_nobody_was_dialled(
    desk: Desk, house: House, watch: Watch
) -> None:
    assert house.workers[0].running()
    metrics = await desk.metrics()
    assert metrics["clipmill_stage_bugs_total"] == 0
    assert metrics["clipmill_stage_restarts_total"] == 0
    assert metrics["clipmill_engine_restarts"] == 0
    assert house.standin.counters()["refused_hosts"] == {}
    assert watch.samples > 3
    assert watch.strangers == set()
