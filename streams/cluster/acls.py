"""ACLs as data: the operations of a principal, and the commands that grant them."""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streams.topics import TOPICS, Topic

AclOperationName = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]
"""Kafka's operations, as its admin clients name them. READ and WRITE imply DESCRIBE."""

OPERATIONS: tuple[AclOperationName, ...] = (
    "READ",
    "WRITE",
    "CREATE",
    "DESCRIBE",
    "DESCRIBE_CONFIGS",
)

AclResource = Literal["topic", "group", "transactional-id"]

_IMPLY_DESCRIBE: frozenset[AclOperationName] = frozenset({"READ", "WRITE"})


@dataclass(frozen=True, slots=True)
class Acl:
    """The operations that a principal may perform on one topic, group or transactional id.

    Attributes:
        resource: kind of resource.
        name: its name on Kafka.
        operations: in the order of `OPERATIONS`.
    """

    resource: AclResource
    name: str
    operations: tuple[AclOperationName, ...]


def check_acls(topics: Iterable[Topic], prefix: str) -> list[Acl]:
    """Return the ACLs for checking topics."""
    every = set(topics)
    return acls_of(prefix, {"DESCRIBE": every, "DESCRIBE_CONFIGS": every})


def topic_acls(
    prefix: str, *, reads: Iterable[Topic] = (), writes: Iterable[Topic] = ()
) -> list[Acl]:
    """Return the ACLs for reading and writing topics."""
    return acls_of(prefix, {"READ": set(reads), "WRITE": set(writes)})


def acls_of(prefix: str, topics: Mapping[AclOperationName, Collection[Topic]]) -> list[Acl]:
    """Return one ACL per topic, from the topics of each operation."""
    order = {topic: index for index, topic in enumerate(TOPICS)}
    every = sorted(
        {topic for some in topics.values() for topic in some},
        key=lambda topic: (order.get(topic, len(order)), topic.name),
    )
    return [Acl("topic", topic.kafka_name(prefix), _operations(topic, topics)) for topic in every]


def _operations(
    topic: Topic, topics: Mapping[AclOperationName, Collection[Topic]]
) -> tuple[AclOperationName, ...]:
    wanted = {operation for operation, some in topics.items() if topic in some}
    if "DESCRIBE_CONFIGS" in wanted and not wanted & _IMPLY_DESCRIBE:
        wanted.add("DESCRIBE")
    return tuple(each for each in OPERATIONS if each in wanted)


def group_acl(name: str) -> Acl:
    """Return the ACL of a group member."""
    return Acl("group", name, ("READ",))


def kafka_acls_commands(acls: Iterable[Acl], principal: str, bootstrap: str) -> list[str]:
    """Return `kafka-acls.sh` commands that add ACLs, one for each set of operations."""
    alike: dict[tuple[AclResource, tuple[AclOperationName, ...]], list[str]] = {}
    for acl in acls:
        alike.setdefault((acl.resource, acl.operations), []).append(acl.name)
    return [
        _command(principal, bootstrap, resource, operations, names)
        for (resource, operations), names in alike.items()
    ]


def _command(
    principal: str,
    bootstrap: str,
    resource: AclResource,
    operations: Sequence[AclOperationName],
    names: Sequence[str],
) -> str:
    words = ["kafka-acls.sh", "--bootstrap-server", bootstrap]
    words += ["--add", "--allow-principal", principal]
    for operation in operations:
        words += ["--operation", operation.title().replace("_", "")]
    lines = [shlex.join(words)]
    lines += [f"--{resource} {shlex.quote(name)}" for name in names]
    return " \\\n  ".join(lines)
