"""Kafka client: publish requests and commands, consume results, read the shared state.

Used by the command line. Uses the public topics only, as any other client; needs no worker in this
process.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from schemas.codec import encode
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    RecordOrder,
    Refresh,
    ResetBreaker,
    Retry,
)
from streams.cluster.connection import translate_errors
from streams.cluster.producer import ReliableProducer, Write
from streams.cluster.shared_state import open_shared_state
from streams.cluster.topic_reader import Received, TopicReader, require_topics
from streams.settings import KafkaSettings
from streams.topics import COMMANDS, PROGRESS, REQUESTS, RESULTS, SIGNALS, Topic

BATCH_FINISHED = "batch_finished"
"""Status of a batch summary."""


class RequestProducer:
    """Producer of requests and commands."""

    _producer: ReliableProducer

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._stack = AsyncExitStack()
        self._writable: set[Topic] = set()

    async def __aenter__(self) -> Self:
        async with translate_errors(self._kafka):
            self._producer = await self._stack.enter_async_context(ReliableProducer(self._kafka))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _name(self, topic: Topic) -> str:
        return topic.kafka_name(self._kafka.topic_prefix)

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Publish requests; each body is the JSON of one request."""
        await self._require_write(REQUESTS)
        name = self._name(REQUESTS)
        await self._producer.publish([Write(name, None, body) for body in bodies])

    async def send_command(self, *commands: Command) -> None:
        """Publish commands; those of one key are processed in order."""
        await self._require_write(COMMANDS)
        name = self._name(COMMANDS)
        await self._producer.publish(
            [Write(name, command_key(each).encode(), encode(each)) for each in commands]
        )

    async def _require_write(self, topic: Topic) -> None:
        """Fail without the topic or its ACL: a producer would block forever on metadata."""
        if topic not in self._writable:
            await require_topics(self._kafka, writes=(topic,))
            self._writable.add(topic)


class Client(RequestProducer):
    """Producer of requests and commands, and consumer of their results.

    Records of `results` and `progress` are consumed from the log end at the time of opening.

    Attributes:
        reader: the consumer; the caller may seek it.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(kafka)
        self.reader = TopicReader(kafka, RESULTS, PROGRESS)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.reader)
            await super().__aenter__()
            self._stack.push_async_exit(stack.pop_all())
        return self

    def records(self) -> AsyncIterator[Received]:
        """Iterate over results and progress as they arrive; never ends."""
        return self.reader.records()


def command_key(command: Command) -> str:
    """Return the record key of a command: its request, video, breaker, stage or subject."""
    match command:
        case Cancel() | Retry():
            return command.request_id
        case Refresh():
            return command.video
        case OpenBreaker() | ResetBreaker():
            return command.breaker
        case RecordOrder():
            return command.subject
    return command.stage


async def read_signals(kafka: KafkaSettings, *prefixes: str) -> dict[str, bytes]:
    """Return the latest values of the shared state whose keys have one of the prefixes."""
    async with translate_errors(kafka):
        await require_topics(kafka, SIGNALS)
        async with open_shared_state(kafka) as shared_state:
            return dict(pair for prefix in prefixes for pair in shared_state.items(prefix))


def is_about(key: bytes | None, request_id: str) -> bool:
    """Return whether a record key belongs to a request, or to a member of it."""
    own = request_id.encode()
    return key is not None and (key == own or key.startswith(own + b"/"))


class Outstanding:
    """Requests whose results are pending; falsy when there are none.

    Memory grows with requests in flight, not with completed ones.
    """

    def __init__(self) -> None:
        self._pending: set[str] = set()
        self._batches: dict[str, set[str]] = {}
        # Results of members may precede the listing result with their count: topic order holds
        # within a partition only.
        self._early: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, request_id: str, members: int = 0) -> None:
        """Expect the result of a request, or those of the members of a batch."""
        if members:
            self._batches[request_id] = member_ids(request_id, members)
            self._pending.update(self._batches[request_id])
        else:
            self._pending.add(request_id)

    def sample(self, count: int) -> list[str]:
        """Return the first pending ids, sorted."""
        return sorted(self._pending)[:count]

    def includes(self, request_id: str) -> bool:
        """Return whether a request is pending, or a member of a pending one."""
        return request_id in self._pending or request_id.rpartition("/")[0] in self._pending

    def record(self, result: dict[str, Any]) -> bool:
        """Record a result; return False for foreign results and duplicates."""
        name = result["request_id"]
        parent = name.rpartition("/")[0]
        if name in self._pending:
            self._pending.remove(name)
            if parent in self._pending:
                self._early[parent].add(name)  # the batch summary must not expect it again
            self._pending |= members_of(result) - self._early.pop(name, set())
            self._leave_batch(parent, name)
            return True
        if name in self._batches:
            return self._is_rejected(name, result)
        if parent not in self._pending or name in self._early[parent]:
            return False
        self._early[parent].add(name)
        return True

    def _is_rejected(self, batch: str, result: dict[str, Any]) -> bool:
        """Return whether a result rejects a whole batch; its members then get no results."""
        if result["status"] != "rejected":
            return False
        self._pending -= self._batches.pop(batch)
        return True

    def _leave_batch(self, batch: str, member: str) -> None:
        if batch in self._batches:
            self._batches[batch].discard(member)
            if not self._batches[batch]:
                del self._batches[batch]


async def wait_for(
    client: Client,
    request_ids: set[str],
    seconds: float,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Iterate over the results of requests and their members until none is pending.

    Raises:
        TimeoutError: results are still pending after the timeout.
    """
    outstanding = Outstanding()
    for request_id in request_ids:
        outstanding.add(request_id)
    async with asyncio.timeout(seconds):
        async for topic, _, message in client.records():
            if topic == PROGRESS:
                if outstanding.includes(message["request_id"]):
                    on_progress(message)
            elif outstanding.record(message):
                yield message
                if not outstanding:
                    return


def members_of(result: dict[str, Any]) -> set[str]:
    """Return the member ids announced by a listing result, or by a batch summary.

    A summary with undecided members announces none: which of them have a result is unknown.
    """
    size = result.get("members", 0)
    if result.get("status") == BATCH_FINISHED and not result["counts"]["undecided"]:
        size = result["batch_size"]
    return member_ids(result["request_id"], size)


def member_ids(request_id: str, count: int) -> set[str]:
    return {f"{request_id}/{index}" for index in range(count)}
