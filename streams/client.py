"""The client's side: publish requests and orders, wait for results, read what is known.

Plain Kafka, as any other client would do it; nothing here needs a worker of this process.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import encode
from schemas.commands import Cancel, Command, OpenBreaker, Refresh, ResetBreaker, Retry
from streams.kafka import ClusterAwayError, client_options, explained
from streams.outbox import Outbox, Write
from streams.settings import KafkaSettings
from streams.signals import following
from streams.topic_admin import missing_topics
from streams.topics import AUDIT, COMMANDS, PROGRESS, REQUESTS, RESULTS, SIGNALS, Topic

POLL_MILLISECONDS = 500


class Client:
    """Publishes requests and sees what becomes of them.

    Records of `results` and `progress` are read from the moment the client opens.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._outbox = Outbox(kafka)
        self._consumer = AIOKafkaConsumer(
            self._name(RESULTS), self._name(PROGRESS), **client_options(kafka)
        )

    async def __aenter__(self) -> Self:
        try:
            with explained(self._kafka):
                await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _open(self) -> None:
        await _require(self._kafka, RESULTS, PROGRESS)
        await self._outbox.__aenter__()
        await self._consumer.start()
        await self._listen()

    async def __aexit__(self, *exc: object) -> None:
        await self._consumer.stop()
        await self._outbox.__aexit__()

    def _name(self, topic: Topic) -> str:
        return topic.kafka_name(self._kafka.topic_prefix)

    async def _listen(self) -> None:
        """Fix the place to read from now, not at the first read: results may come before it."""
        for place, end in (await self._consumer.end_offsets(self._consumer.assignment())).items():
            self._consumer.seek(place, end)

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Publish requests; each body is the JSON of one."""
        name = self._name(REQUESTS)
        await self._outbox.publish([Write(name, None, body) for body in bodies])

    async def order(self, command: Command) -> None:
        """Publish a command; orders about one thing come one after the other."""
        await _require(self._kafka, COMMANDS)
        key = ordered_thing(command).encode()
        await self._outbox.publish([Write(self._name(COMMANDS), key, encode(command))])

    async def records(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over (``results`` or ``progress``, message) as they come, for ever."""
        names = {self._name(topic): topic.name for topic in (RESULTS, PROGRESS)}
        while True:
            batches = await self._consumer.getmany(timeout_ms=POLL_MILLISECONDS)
            for place, records in batches.items():
                for record in records:
                    if message := _message(record.value):
                        yield names[place.topic], message


async def _require(kafka: KafkaSettings, *topics: Topic) -> None:
    """Refuse a cluster without these topics: a consumer would wait 40 s for each of them."""
    if missing := await missing_topics(kafka, topics):
        raise ClusterAwayError(
            f"there is no topic {missing[0]} at {kafka.bootstrap}; "
            "run `clipmill topics apply` first"
        )


def ordered_thing(command: Command) -> str:
    """Return what a command is about: a request, a video, a breaker or a stage."""
    match command:
        case Cancel() | Retry():
            return command.request_id
        case Refresh():
            return command.video
        case OpenBreaker() | ResetBreaker():
            return command.breaker
    return command.stage


async def read_signals(kafka: KafkaSettings, prefix: str) -> dict[str, bytes]:
    """Return the newest values of all signals whose keys begin so."""
    with explained(kafka):
        await _require(kafka, SIGNALS)
        async with following(kafka) as signals:
            return dict(signals.items(prefix))


async def read_history(kafka: KafkaSettings, request_id: str) -> list[dict[str, Any]]:
    """Return the audit records of a request, or of a batch and its members, oldest first."""
    await _require(kafka, AUDIT)
    name = AUDIT.kafka_name(kafka.topic_prefix)
    consumer = AIOKafkaConsumer(name, **client_options(kafka), auto_offset_reset="earliest")
    with explained(kafka):
        try:
            await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
            found = [
                message
                async for record in _until(consumer, ends)
                if _belongs(record.key, request_id) and (message := _message(record.value))
            ]
        finally:
            await consumer.stop()
    return sorted(found, key=lambda record: str(record.get("at")))


def _message(value: bytes | None) -> dict[str, Any] | None:
    """Return a message about a request, None for what others may have written there."""
    try:
        message = json.loads(value or b"null")
    except ValueError:
        return None
    return message if isinstance(message, dict) and "request_id" in message else None


def _belongs(key: bytes | None, request_id: str) -> bool:
    text = (key or b"").decode(errors="replace")
    return text == request_id or text.startswith(f"{request_id}/")


async def _until(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> AsyncIterator[Any]:
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        batches = await consumer.getmany(timeout_ms=POLL_MILLISECONDS)
        for records in batches.values():
            for record in records:
                yield record


def request_body(**fields: Any) -> bytes:
    """Return the JSON of a request; fields that are None are left out."""
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


async def wait_for(
    client: Client,
    request_ids: set[str],
    seconds: float,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Iterate over the results of these requests, and of their members, until all are there.

    Raises:
        TimeoutError: some are still missing after so many seconds.
    """
    wanted, seen = set(request_ids), set[str]()
    async with asyncio.timeout(seconds):
        async for topic, message in client.records():
            name = message["request_id"]
            # Results of members may come before the one that tells how many there are.
            if name in seen or not (name in wanted or name.rpartition("/")[0] in request_ids):
                continue
            if topic == PROGRESS.name:
                on_progress(message)
                continue
            seen.add(name)
            yield message
            wanted |= members_of(message)
            if wanted <= seen:
                return


def members_of(result: dict[str, Any]) -> set[str]:
    """Return the ids of the requests that were made of a listing; none of all other results."""
    return {f"{result['request_id']}/{index}" for index in range(result.get("members", 0))}
