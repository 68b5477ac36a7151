"""Assigns the same partitions of all stages to the same worker.

A request runs through the partitions of five consumer groups. Faust's sticky assignor divides each
group by itself: while one of two workers was away, nearly no request had a path through partitions
of the other one alone (none in 11 s at 10/s). Here the assignment is a function of the names of the
members, and static members have the same name in each group.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor

_STATIC_MEMBER = re.compile(r"(.+)-[0-9a-f]{8}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Ids of static members: host and lease, digest of the topics, UUID of the broker."""


def member_name(member_id: str) -> str:
    """Return the part of a member's id that is the same in all groups."""
    match = _STATIC_MEMBER.fullmatch(member_id)
    return match[1] if match else member_id


def aligned_partitions(members: Sequence[str], partitions: int) -> dict[str, list[int]]:
    """Divide partitions by rendezvous hashing with bounded loads.

    Each member has the same number of partitions, or one more than another. Few of them move when
    a member comes or goes.
    """
    least, remainder = divmod(partitions, len(members))
    owned: dict[str, list[int]] = {member: [] for member in members}
    for partition in range(partitions):
        most = least + (remainder > 0)
        free = [member for member in members if len(owned[member]) < most]
        owner = max(free, key=lambda member: _weight(member, partition))
        owned[owner].append(partition)
        remainder -= len(owned[owner]) > least
    return owned


def _weight(member: str, partition: int) -> bytes:
    return blake2b(f"{member_name(member)}/{partition}".encode(), digest_size=8).digest()


class AlignedAssignor(PartitionAssignor):
    """Faust's assignor, which gets the aligned assignment as the one that it has to keep."""

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        # What remains after equal parts is given away in this order.
        in_order = dict(sorted(member_metadata.items()))
        topics = {topic for member in in_order.values() for topic in member.subscription}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        aligned = {
            count: aligned_partitions(list(in_order), count) for count in set(counts.values())
        }
        kept = {
            member_id: self._with_assignment(
                member,
                {topic: aligned[counts[topic]][member_id] for topic in member.subscription},
            )
            for member_id, member in in_order.items()
        }
        return super()._perform_assignment(cluster, kept)

    def _with_assignment(
        self, member: ConsumerProtocolMemberMetadata, actives: dict[str, list[int]]
    ) -> ConsumerProtocolMemberMetadata:
        metadata = self._get_client_metadata(member)
        metadata.assignment = ClientAssignment(actives=actives, standbys={})
        return ConsumerProtocolMemberMetadata(member.version, member.subscription, metadata.dumps())
