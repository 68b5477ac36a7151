"""The client's side: publish requests and orders, wait for results, read the shared state.

Plain Kafka, as any other client would do it; nothing here needs a worker of this process.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from schemas.codec import encode
from schemas.commands import Cancel, Command, OpenBreaker, Refresh, ResetBreaker, Retry
from streams.cluster.connection import explained
from streams.cluster.producer import ReliableProducer, Write
from streams.cluster.shared_state import following
from streams.cluster.topic_reader import Received, TopicReader, require_topics
from streams.settings import KafkaSettings
from streams.topics import COMMANDS, PROGRESS, REQUESTS, RESULTS, SIGNALS, Topic

BATCH_FINISHED = "batch_finished"
"""Status of the summary of a batch."""


class Client:
    """Publishes requests and sees what becomes of them.

    Records of `results` and `progress` are read from the moment the client opens.

    Attributes:
        reader: reads them; it can be placed elsewhere.
    """

    _outbox: ReliableProducer

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self.reader = TopicReader(kafka, RESULTS, PROGRESS)
        self._stack = AsyncExitStack()
        self._writable: set[Topic] = set()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.reader)
            async with explained(self._kafka):
                self._outbox = await stack.enter_async_context(ReliableProducer(self._kafka))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _name(self, topic: Topic) -> str:
        return topic.kafka_name(self._kafka.topic_prefix)

    async def publish(self, bodies: Sequence[bytes]) -> None:
        """Publish requests; each body is the JSON of one."""
        await self._require_write(REQUESTS)
        name = self._name(REQUESTS)
        await self._outbox.publish([Write(name, None, body) for body in bodies])

    async def order(self, command: Command) -> None:
        """Publish a command; orders about one thing come one after the other."""
        await self._require_write(COMMANDS)
        key = ordered_thing(command).encode()
        await self._outbox.publish([Write(self._name(COMMANDS), key, encode(command))])

    def records(self) -> AsyncIterator[Received]:
        """Iterate over results and progress as they come, for ever."""
        return self.reader.records()

    async def _require_write(self, topic: Topic) -> None:
        """Refuse to write without the topic or its ACL: a producer would wait for ever."""
        if topic not in self._writable:
            await require_topics(self._kafka, writes=(topic,))
            self._writable.add(topic)


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
    async with explained(kafka):
        await require_topics(kafka, SIGNALS)
        async with following(kafka) as signals:
            return dict(signals.items(prefix))


def is_about(key: bytes | None, request_id: str) -> bool:
    """Return whether a record with this key is one of a request, or of a member of it."""
    own = request_id.encode()
    return key is not None and (key == own or key.startswith(own + b"/"))


class Outstanding:
    """Requests whose results are still to come; empty when there are none.

    It grows with what is under way, not with what has been.
    """

    def __init__(self) -> None:
        self._waited: set[str] = set()
        self._batches: dict[str, set[str]] = {}
        # Results of a listing's members may come before the one that tells how many there are.
        self._early: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._waited)

    def add(self, request_id: str, members: int = 0) -> None:
        """Wait for the result of a request, or for those of the members of a batch."""
        if members:
            self._batches[request_id] = member_ids(request_id, members)
            self._waited.update(self._batches[request_id])
        else:
            self._waited.add(request_id)

    def sample(self, count: int) -> list[str]:
        """Return some of those that are missing, in order."""
        return sorted(self._waited)[:count]

    def concerns(self, request_id: str) -> bool:
        """Return whether this is one of them, or a member of one."""
        return request_id in self._waited or request_id.rpartition("/")[0] in self._waited

    def take(self, result: dict[str, Any]) -> bool:
        """Note a result; return whether it is one of these and no copy."""
        name = result["request_id"]
        parent = name.rpartition("/")[0]
        if name in self._waited:
            self._waited.remove(name)
            if parent in self._waited:
                self._early[parent].add(name)  # the end of its batch must not ask for it again
            self._waited |= members_of(result) - self._early.pop(name, set())
            self._leave_batch(parent, name)
            return True
        if name in self._batches:
            return self._is_refused(name, result)
        if parent not in self._waited or name in self._early[parent]:
            return False
        self._early[parent].add(name)
        return True

    def _is_refused(self, batch: str, result: dict[str, Any]) -> bool:
        """Return whether a result refuses a batch as a whole: then no member will have one."""
        if result["status"] != "rejected":
            return False
        self._waited -= self._batches.pop(batch)
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
    """Iterate over the results of these requests, and of their members, until all are there.

    Raises:
        TimeoutError: some are still missing after so many seconds.
    """
    outstanding = Outstanding()
    for request_id in request_ids:
        outstanding.add(request_id)
    async with asyncio.timeout(seconds):
        async for topic, _, message in client.records():
            if topic == PROGRESS:
                if outstanding.concerns(message["request_id"]):
                    on_progress(message)
            elif outstanding.take(message):
                yield message
                if not outstanding:
                    return


def members_of(result: dict[str, Any]) -> set[str]:
    """Return the ids of the members that a listing, or the summary of a batch, says there are.

    A summary that says of some members that they were never decided names none: which ones have a
    result is not known.
    """
    size = result.get("members", 0)
    if result.get("status") == BATCH_FINISHED and not result["counts"]["undecided"]:
        size = result["batch_size"]
    return member_ids(result["request_id"], size)


def member_ids(request_id: str, count: int) -> set[str]:
    """Return the ids of the members of a batch or a listing."""
    return {f"{request_id}/{index}" for index in range(count)}
