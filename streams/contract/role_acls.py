"""The ACLs that each kind of principal needs: the smallest set, from the contract and the stages.

Used three times: `clipmill topics acls` prints them, a worker checks its own at its start and while
it runs, and docs/operations.md lists them.
"""

from collections.abc import Collection, Sequence
from typing import Literal

from streams.cluster.acls import Acl, Operation, acls_of, group_acl, topic_acls
from streams.contract.topology import PARTIES
from streams.stage import Stage, changelogs, stage_names, topics_of
from streams.topics import READERS, SIGNALS, TOPICS, Topic, reply_topic

Role = Literal["worker", "client", "operator", "admin"]

REPLAY_GROUP = "deadletters-replay"
"""The group whose one member may replay dead letters, see `streams.deadletters.replay_lock`."""


def worker_acls(
    stages: Sequence[Stage], prefix: str, reply_topics: Sequence[str] = ()
) -> list[Acl]:
    """Return what a worker of these stages needs. It needs no right to create anything.

    It looks at the offsets of other stages' groups too: their lag holds early stages back, and
    what they commit of the heartbeats tells who sends those that the stage is alive.
    """
    made = changelogs(stages)
    parties = {party.name: party for party in PARTIES}
    reads = {SIGNALS, *made}
    writes = set(made)
    for stage in stages:
        reads |= set(stage.reads)
        # A stage that is plugged in may write to every topic; the contract does not know it.
        writes |= set(parties[stage.name].writes if stage.name in parties else TOPICS)
    replies = {reply_topic(name) for name in reply_topics}
    needed: dict[Operation, Collection[Topic]] = {
        "READ": reads,
        "WRITE": writes | replies,
        "DESCRIBE_CONFIGS": {*TOPICS, *made, *replies},
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
    """Return what a client needs; ``groups`` are those in which it reads.

    `clipmill`'s own commands read without a group.
    """
    return _party("client", prefix) + [group_acl(group) for group in groups]


def operator_acls(prefix: str) -> list[Acl]:
    """Return what `clipmill deadletters` needs."""
    return [*_party("operator", prefix), group_acl(f"{prefix}{REPLAY_GROUP}")]


def admin_acls(stages: Sequence[Stage], prefix: str, reply_topics: Sequence[str] = ()) -> list[Acl]:
    """Return what `clipmill topics apply` and `check` need."""
    every = set(topics_of(stages, reply_topics))
    return acls_of(prefix, {"CREATE": every, "DESCRIBE": every, "DESCRIBE_CONFIGS": every})


def _party(name: str, prefix: str) -> list[Acl]:
    party = next(each for each in PARTIES if each.name == name)
    return topic_acls(prefix, reads=party.reads, writes=party.writes)
