"""The partition assignor: assigns the same partition numbers of all stages to the same worker.

A request passes through partitions of five consumer groups. Faust's sticky assignor balances each
group by itself: while one of two workers was down, nearly no request had a path through partitions
of the other one alone (none in 11 s at 10/s). Here the assignment is a function of the member
names, and static members have the same name in each group.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor

_STATIC_MEMBER = re.compile(r"(.+)-[0-9a-f]{8}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Member id of a static member: host and lease, digest of the topics, UUID of the broker."""


def member_name(member_id: str) -> str:
    """Return the part of a member id that is the same in all groups."""
    match = _STATIC_MEMBER.fullmatch(member_id)
    return match[1] if match else member_id


def aligned_partitions(members: Sequence[str], partitions: int) -> dict[str, list[int]]:
    """Assign partitions by rendezvous hashing with bounded loads.

    The members' counts differ by one at most. Few partitions move when a member joins or leaves.
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
    """Faust's sticky assignor, with the aligned assignment as the previous one that it keeps."""

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        # The remainder of an equal split is assigned in this order.
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
