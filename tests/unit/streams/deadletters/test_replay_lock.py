from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from streams.cluster.connection import ClusterUnavailableError
from streams.deadletters.replay_lock import ReplayLock, ReplayRunningError

PARTITIONS = {TopicPartition("marks", 0)}


def holder(**members: bytes) -> str:
    subscriptions = {
        name: SimpleNamespace(user_data=data, subscription=["marks"])
        for name, data in members.items()
    }
    assignments = ReplayLock(1).assign(None, subscriptions)
    [found] = [name for name, each in assignments.items() if each.assignment]
    return found


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"a": b""}, "a"),
        ({"a": b"1", "b": b""}, "a"),
        ({"a": b"", "b": b"1"}, "b"),
        ({"a": b"1", "b": b"2", "c": b""}, "b"),
    ],
)
def test_current_holder_keeps_the_lock(members: dict[str, bytes], name: str) -> None:
    assert holder(**members) == name


async def test_lock_is_unknown_until_assigned_then_own_or_foreign() -> None:
    lock = ReplayLock(0.01)
    with pytest.raises(ClusterUnavailableError):
        await lock.confirm()
    assert lock.metadata(["marks"]).user_data == b""
    lock.on_partitions_assigned(PARTITIONS)
    await lock.confirm()
    since = lock.metadata(["marks"]).user_data
    lock.on_partitions_revoked(PARTITIONS)
    lock.on_partitions_assigned(PARTITIONS)
    assert lock.metadata(["marks"]).user_data == since != b""
    lock.on_partitions_assigned(set())
    with pytest.raises(ReplayRunningError):
        await lock.confirm()
