import pytest

from streams.cluster.acls import Acl
from streams.cluster.authorization import (
    CODES,
    NO_OPERATIONS,
    NOT_REPORTED,
    _find_missing,
    explain_missing,
)
from streams.settings import KafkaSettings

ALL = sum(1 << code for code in CODES.values())


@pytest.mark.parametrize(
    ("allowed", "lacking"),
    [
        ({"t": ALL}, None),
        ({"t": 1 << CODES["READ"] | 1 << CODES["WRITE"]}, None),
        ({"t": 1 << CODES["READ"]}, ("WRITE",)),
        ({"t": 1 << CODES["DESCRIBE"]}, ("READ", "WRITE")),
        ({"t": NO_OPERATIONS}, ("READ", "WRITE")),
        ({"t": NOT_REPORTED}, None),
        ({}, None),
    ],
)
def test_operations_that_are_not_allowed_are_missing(
    allowed: dict[str, int], lacking: tuple[str, ...] | None
) -> None:
    acl = Acl("topic", "t", ("READ", "WRITE"))
    missing = [Acl("topic", "t", lacking)] if lacking else []  # type: ignore[arg-type]
    assert _find_missing([acl], allowed) == missing


def test_missing_acls_are_named_by_operation_and_resource() -> None:
    missing = [
        Acl("topic", "a", ("READ", "WRITE")),
        Acl("topic", "b", ("READ", "WRITE")),
        Acl("topic", "c", ("WRITE",)),
        Acl("group", "g", ("READ",)),
    ]
    assert explain_missing(KafkaSettings(), missing).splitlines() == [
        "the cluster at 127.0.0.1:9092 does not allow clients without a login to",
        "  READ and WRITE on topic a, b",
        "  WRITE on topic c",
        "  READ on group g",
        "`clipmill topics acls` prints the commands that add the ACLs.",
    ]
