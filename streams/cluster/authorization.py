"""Which of the operations that a principal needs the cluster allows it.

Kafka tells with the metadata of a topic, and with the description of a group, what the connection's
principal may do there. So all missing ACLs are known at once, before a consumer or producer fails
at the first of them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from streams.cluster.acls import Acl, Operation
from streams.cluster.connection import client_options, explained, login_of
from streams.settings import KafkaSettings

ANSWER_MILLISECONDS = 10_000

COORDINATOR_SECONDS = 5.0
"""Time for a group's coordinator to appear. The first one of a cluster takes about half a second,
as its topic of offsets is made then."""

COORDINATOR_POLL_SECONDS = 0.2

CLOSE_SECONDS = 1.0
"""Time for a TLS shutdown; one takes a millisecond."""

CODES: dict[Operation, int] = {
    "READ": 3,
    "WRITE": 4,
    "CREATE": 5,
    "DESCRIBE": 8,
    "DESCRIBE_CONFIGS": 10,
}
"""Kafka's AclOperation: the bits of an answer's authorized operations."""

NOT_TOLD = -(2**31)
"""What brokers answer that do not tell the operations."""

NOTHING = 0


class MissingAclError(Exception):
    """The principal may not do what is needed; the text names each operation and topic or group."""


async def missing_acls(kafka: KafkaSettings, acls: Sequence[Acl]) -> list[Acl]:
    """Return those ACLs that are missing, each with the missing operations alone.

    Empty when the cluster has no authorizer, or does not tell (Kafka before 2.3).

    Raises:
        ClusterAwayError: no broker answers, or it refuses the login.
    """
    async with explained(kafka):
        try:
            return await _missing(client_options(kafka, "admin"), acls)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return []


async def require_acls(kafka: KafkaSettings, acls: Sequence[Acl]) -> None:
    """Return when the cluster allows all of this.

    Raises:
        MissingAclError: it does not.
        ClusterAwayError: no broker answers, or it refuses the login.
    """
    if missing := await missing_acls(kafka, acls):
        raise MissingAclError(explain_missing(kafka, missing))


def explain_missing(kafka: KafkaSettings, missing: Sequence[Acl]) -> str:
    """Return which ACLs are missing, and how to add them."""
    alike: dict[str, list[str]] = {}
    for acl in missing:
        alike.setdefault(f"{' and '.join(acl.operations)} on {acl.resource}", []).append(acl.name)
    lines = [f"  {what} {', '.join(names)}" for what, names in alike.items()]
    return "\n".join(
        [
            f"the cluster at {kafka.bootstrap} does not allow {login_of(kafka)} to",
            *lines,
            "`clipmill topics acls` prints the commands that add the ACLs.",
        ]
    )


async def _missing(options: dict[str, Any], acls: Sequence[Acl]) -> list[Acl]:
    topics = [acl for acl in acls if acl.resource == "topic"]
    groups = [acl for acl in acls if acl.resource == "group"]
    async with _connected(options) as connection:
        allowed = await _topic_operations(connection, [acl.name for acl in topics])
        lacking = _lacking(topics, allowed)
        return lacking + _lacking(groups, await _group_operations(connection, groups, options))


def _lacking(acls: Iterable[Acl], allowed: dict[str, int]) -> list[Acl]:
    found: list[Acl] = []
    for acl in acls:
        operations = allowed.get(acl.name, NOT_TOLD)
        if operations == NOT_TOLD:
            continue
        if lacks := tuple(each for each in acl.operations if not operations & 1 << CODES[each]):
            found.append(Acl(acl.resource, acl.name, lacks))
    return found


@asynccontextmanager
async def _connected(options: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """Give a connection to the first bootstrap server that answers."""
    places = options["bootstrap_servers"]
    for place in places:
        host, _, port = place.rpartition(":")
        try:
            connection = await _connect(host, int(port), options)
        except (OSError, KafkaError, TimeoutError):
            continue
        try:
            yield connection
        finally:
            await _close(connection)
        return
    raise KafkaConnectionError(f"Unable to bootstrap from {places}")


async def _connect(host: str, port: int, options: dict[str, Any]) -> AIOKafkaConnection:
    login = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    return await create_conn(host, port, request_timeout_ms=ANSWER_MILLISECONDS, **login)


async def _close(connection: AIOKafkaConnection) -> None:
    """Close a connection, and wait for its end: commands close their loop right after it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()


async def _topic_operations(connection: AIOKafkaConnection, names: list[str]) -> dict[str, int]:
    answer: Any = await connection.send(_TopicsRequest(names))
    found: dict[str, int] = {}
    for code, name, _internal, _partitions, operations in answer.topics:
        error = for_code(code)
        # Without DESCRIBE the broker does not even tell whether the topic exists.
        found[name] = NOTHING if error is TopicAuthorizationFailedError else operations
        if error not in {NoError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError}:
            found[name] = NOT_TOLD
    return found


async def _group_operations(
    connection: AIOKafkaConnection, groups: Sequence[Acl], options: dict[str, Any]
) -> dict[str, int]:
    found: dict[str, int] = {}
    places: dict[tuple[str, int], list[str]] = {}
    for acl in groups:
        try:
            place = await _coordinator(connection, acl.name)
        except GroupAuthorizationFailedError:
            found[acl.name] = NOTHING
        except (CoordinatorNotAvailableError, TimeoutError):
            found[acl.name] = NOT_TOLD
        else:
            places.setdefault(place, []).append(acl.name)
    for (host, port), names in places.items():
        found |= await _described(host, port, names, options)
    return found


async def _described(
    host: str, port: int, names: list[str], options: dict[str, Any]
) -> dict[str, int]:
    coordinator = await _connect(host, port, options)
    try:
        answer: Any = await coordinator.send(_GroupsRequest(names))
    finally:
        await _close(coordinator)
    found: dict[str, int] = {}
    for code, name, *_, operations in answer.groups:
        error = for_code(code)
        found[name] = operations if error is NoError else NOT_TOLD
        if error is GroupAuthorizationFailedError:
            found[name] = NOTHING
    return found


async def _coordinator(connection: AIOKafkaConnection, group: str) -> tuple[str, int]:
    async with asyncio.timeout(COORDINATOR_SECONDS):
        while True:
            answer: Any = await connection.send(FindCoordinatorRequest(group, 0))
            error = for_code(answer.error_code)
            if error is NoError:
                return answer.host, answer.port
            if error is not CoordinatorNotAvailableError:
                raise error(group)
            await asyncio.sleep(COORDINATOR_POLL_SECONDS)


# The protocol. aiokafka stops at version 5 of the first request, before the operations came, and
# reads the answer to version 3 of the second without them.


class _TopicsResponse(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsRequestStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsRequest(Request[_TopicsRequestStruct]):
    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_TopicsRequestStruct]) -> _TopicsRequestStruct:
        return request_struct_class(self._names, False, False, True)


class _GroupsResponse(Response):
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _GroupsRequestStruct(RequestStruct):
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _GroupsRequest(Request[_GroupsRequestStruct]):
    API_KEY = 15

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_GroupsRequestStruct]) -> _GroupsRequestStruct:
        return request_struct_class(self._names, True)
