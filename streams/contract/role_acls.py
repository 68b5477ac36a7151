"""Minimal ACLs per role, derived from the contract and the stages (least privilege).

Printed by `clipmill topics acls`, verified by a worker for itself at start and periodically, and
listed in docs/acls.md.
"""

from collections.abc import Collection, Sequence
from typing import Literal

from streams.cluster.acls import Acl, AclOperationName, acls_of, group_acl, topic_acls
from streams.contract.topology import EXTERNAL_PARTIES
from streams.stage import Stage, changelogs, stage_names, topics_of
from streams.topics import COMMANDS, READERS, SIGNALS, Topic, reply_topic

Role = Literal["worker", "client", "operator", "console", "admin"]


def worker_acls(
    stages: Sequence[Stage], prefix: str, reply_topics: Sequence[str] = ()
) -> list[Acl]:
    """Return the ACLs of a worker of some stages; it needs no CREATE.

    Includes DESCRIBE on the groups of other stages: their lag is measured for back-pressure, and
    the sender of heartbeats checks their commits of the heartbeats.
    """
    own_changelogs = changelogs(stages)
    reads = {SIGNALS, *own_changelogs}
    writes = set(own_changelogs)
    for stage in stages:
        reads |= set(stage.reads)
        writes |= set(stage.produces)
    replies = {reply_topic(name) for name in reply_topics}
    needed: dict[AclOperationName, Collection[Topic]] = {
        "READ": reads,
        "WRITE": writes | replies,
        "DESCRIBE_CONFIGS": set(topics_of(stages, reply_topics)),
    }
    own = {stage.name for stage in stages}
    groups = [group_acl(f"{prefix}{stage.name}") for stage in stages]
    measured = set(READERS.values())
    if any(stage.sends_heartbeats for stage in stages):
        measured.update(stage_names())
    return [
        *acls_of(prefix, needed),
        *groups,
        *(Acl("group", f"{prefix}{name}", ("DESCRIBE",)) for name in sorted(measured - own)),
    ]


def client_acls(prefix: str, groups: Collection[str] = ()) -> list[Acl]:
    """Return the ACLs of a client; ``groups`` are its consumer groups.

    `clipmill`'s own commands consume without a group.
    """
    return _party_acls("client", prefix) + [group_acl(group) for group in groups]


def operator_acls(prefix: str) -> list[Acl]:
    """Return the ACLs of `clipmill deadletters`."""
    return [*_party_acls("operator", prefix), replay_acl(prefix)]


def console_acls(stages: Sequence[Stage], prefix: str) -> list[Acl]:
    """Return the ACLs that `clipmill console` needs beside those of a client and an operator."""
    return _described_acls(stages, prefix, {COMMANDS})


def lag_acls(stages: Sequence[Stage], prefix: str) -> list[Acl]:
    """Return the ACLs of `clipmill console` for the lag of stages."""
    return _described_acls(stages, prefix, set())


def _described_acls(stages: Sequence[Stage], prefix: str, reads: set[Topic]) -> list[Acl]:
    groups = (Acl("group", f"{prefix}{stage.name}", ("DESCRIBE",)) for stage in stages)
    sources = {topic for stage in stages for topic in stage.sources}
    return [*acls_of(prefix, {"READ": reads, "DESCRIBE": sources - reads}), *groups]


def replay_acl(prefix: str) -> Acl:
    """Return the ACL on the transactional id of replays."""
    return Acl("transactional-id", f"{prefix}deadletters-replay", ("WRITE",))


def admin_acls(stages: Sequence[Stage], prefix: str, reply_topics: Sequence[str] = ()) -> list[Acl]:
    """Return the ACLs of `clipmill topics apply` and `check`."""
    all_topics = set(topics_of(stages, reply_topics))
    return acls_of(
        prefix, {"CREATE": all_topics, "DESCRIBE": all_topics, "DESCRIBE_CONFIGS": all_topics}
    )


def _party_acls(name: str, prefix: str) -> list[Acl]:
    party = next(each for each in EXTERNAL_PARTIES if each.name == name)
    return topic_acls(prefix, reads=party.reads, writes=party.writes)
