from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from streams.cluster.connection import ClusterAwayError
from streams.deadletters.replay_lock import ReplayLock, ReplayRunningError

PLACE = {TopicPartition("marks", 0)}


def holder(**members: bytes) -> str:
    asked = {
        name: SimpleNamespace(user_data=data, subscription=["marks"])
        for name, data in members.items()
    }
    given = ReplayLock(1).assign(None, asked)
    [found] = [name for name, each in given.items() if each.assignment]
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
def test_who_has_the_seat_keeps_it(members: dict[str, bytes], name: str) -> None:
    assert holder(**members) == name


async def test_a_seat_is_ours_others_or_unknown() -> None:
    seat = ReplayLock(0.01)
    with pytest.raises(ClusterAwayError):
        await seat.confirm()
    assert seat.metadata(["marks"]).user_data == b""
    seat.on_partitions_assigned(PLACE)
    await seat.confirm()
    since = seat.metadata(["marks"]).user_data
    seat.on_partitions_revoked(PLACE)
    seat.on_partitions_assigned(PLACE)
    assert seat.metadata(["marks"]).user_data == since != b""
    seat.on_partitions_assigned(set())
    with pytest.raises(ReplayRunningError):
        await seat.confirm()
