"""Checks a principal's ACLs: which of the needed operations the cluster does not authorize.

Kafka reports the authorized operations of the connection's principal with the metadata of a topic
and the description of a group. So all missing ACLs are known at once, before a consumer or producer
fails at the first of them.
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

from streams.cluster.acls import Acl, AclOperationName
from streams.cluster.connection import client_options, describe_login, translate_errors
from streams.errors import OperatorError
from streams.settings import KafkaSettings

ANSWER_MILLISECONDS = 10_000

COORDINATOR_SECONDS = 5.0
"""Timeout for a group's coordinator. The first one of a cluster takes about half a second, because
its offsets topic is created then."""

COORDINATOR_POLL_SECONDS = 0.2

CLOSE_SECONDS = 1.0
"""Timeout for a TLS shutdown; one takes a millisecond."""

CODES: dict[AclOperationName, int] = {
    "READ": 3,
    "WRITE": 4,
    "CREATE": 5,
    "DESCRIBE": 8,
    "DESCRIBE_CONFIGS": 10,
}
"""Kafka's AclOperation codes: bits of a response's authorized operations."""

NOT_REPORTED = -(2**31)
"""Value in responses of brokers that do not report the operations."""

NO_OPERATIONS = 0


class MissingAclError(OperatorError):
    """The principal denied ACLs; the text names each operation and topic or group."""


async def missing_acls(kafka: KafkaSettings, acls: Sequence[Acl]) -> list[Acl]:
    """Return the missing ACLs, each with its missing operations only.

    Kafka does not report the operations on a transactional id. Empty when the cluster has no
    authorizer, or does not report operations (Kafka before 2.3).

    Raises:
        ClusterUnavailableError: no broker answers, or it rejects the login.
    """
    async with translate_errors(kafka):
        try:
            return await _fetch_missing(client_options(kafka, "admin"), acls)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return []


async def require_acls(kafka: KafkaSettings, acls: Sequence[Acl]) -> None:
    """Check that the cluster authorizes all of these operations.

    Raises:
        MissingAclError: it does not.
        ClusterUnavailableError: no broker answers, or it rejects the login.
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
            f"the cluster at {kafka.bootstrap} does not allow {describe_login(kafka)} to",
            *lines,
            "`clipmill topics acls` prints the commands that add the ACLs.",
        ]
    )


async def _fetch_missing(options: dict[str, Any], acls: Sequence[Acl]) -> list[Acl]:
    topics = [acl for acl in acls if acl.resource == "topic"]
    groups = [acl for acl in acls if acl.resource == "group"]
    async with _open_connection(options) as connection:
        allowed = await _topic_operations(connection, [acl.name for acl in topics])
        missing = _find_missing(topics, allowed)
        return missing + _find_missing(groups, await _group_operations(connection, groups, options))


def _find_missing(acls: Iterable[Acl], allowed: dict[str, int]) -> list[Acl]:
    found: list[Acl] = []
    for acl in acls:
        operations = allowed.get(acl.name, NOT_REPORTED)
        if operations == NOT_REPORTED:
            continue
        if denied := tuple(each for each in acl.operations if not operations & 1 << CODES[each]):
            found.append(Acl(acl.resource, acl.name, denied))
    return found


@asynccontextmanager
async def _open_connection(options: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
    """Connect to the first bootstrap server that answers."""
    servers = options["bootstrap_servers"]
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            connection = await _connect(host, int(port), options)
        except (OSError, KafkaError, TimeoutError):
            continue
        try:
            yield connection
        finally:
            await _close(connection)
        return
    raise KafkaConnectionError(f"Unable to bootstrap from {servers}")


async def _connect(host: str, port: int, options: dict[str, Any]) -> AIOKafkaConnection:
    login = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    return await create_conn(host, port, request_timeout_ms=ANSWER_MILLISECONDS, **login)


async def _close(connection: AIOKafkaConnection) -> None:
    """Close a connection and wait for its end: commands close their loop right after it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()


async def _topic_operations(connection: AIOKafkaConnection, names: list[str]) -> dict[str, int]:
    answer: Any = await connection.send(_TopicsRequest(names))
    found: dict[str, int] = {}
    for code, name, _internal, _partitions, operations in answer.topics:
        error = for_code(code)
        # Without DESCRIBE the broker does not even report whether the topic exists.
        found[name] = NO_OPERATIONS if error is TopicAuthorizationFailedError else operations
        if error not in {NoError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError}:
            found[name] = NOT_REPORTED
    return found


async def _group_operations(
    connection: AIOKafkaConnection, groups: Sequence[Acl], options: dict[str, Any]
) -> dict[str, int]:
    found: dict[str, int] = {}
    coordinators: dict[tuple[str, int], list[str]] = {}
    for acl in groups:
        try:
            coordinator = await _coordinator(connection, acl.name)
        except GroupAuthorizationFailedError:
            found[acl.name] = NO_OPERATIONS
        except (CoordinatorNotAvailableError, TimeoutError):
            found[acl.name] = NOT_REPORTED
        else:
            coordinators.setdefault(coordinator, []).append(acl.name)
    for (host, port), names in coordinators.items():
        found |= await _describe_groups(host, port, names, options)
    return found


async def _describe_groups(
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
        found[name] = operations if error is NoError else NOT_REPORTED
        if error is GroupAuthorizationFailedError:
            found[name] = NO_OPERATIONS
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


# The protocol. aiokafka implements the first request up to version 5, which has no operations, and
# decodes version 3 of the second response without them.


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
