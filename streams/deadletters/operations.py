"""Operations on dead letters, with their checks: replay and resolve."""

from collections.abc import Callable, Sequence

from schemas.deadletters import DeadLetterStatus
from streams.cluster.acls import topic_acls
from streams.cluster.authorization import require_acls
from streams.contract.role_acls import operator_acls
from streams.deadletters.dead_letter import DeadLetterRecord
from streams.deadletters.plan import ReplayPlan, Totals
from streams.deadletters.replay import (
    Replay,
    ReplayRateLimiter,
    open_replay_producer,
    publish_mark,
)
from streams.deadletters.store import DeadLetterStore
from streams.errors import OperatorError
from streams.settings import KafkaSettings
from streams.topics import MARKS

DEFAULT_RATE = 50.0
"""Dead letters that are replayed per second."""


class DecidedDeadLetterError(OperatorError):
    """A replayed dead letter cannot be resolved."""


async def open_store(kafka: KafkaSettings) -> DeadLetterStore:
    """Return a store whose topics exist and can be read.

    Raises:
        ClusterUnavailableError: no broker answers, or a topic is missing.
        MissingAclError: an ACL to read the topics is missing.
    """
    store = DeadLetterStore(kafka)
    await store.require_topics()
    return store


async def replay(
    kafka: KafkaSettings,
    plan: ReplayPlan,
    rate: float,
    progress: Callable[[Totals], object],
    begun: Callable[[], object] = lambda: None,
) -> Totals:
    """Replay dead letters at a rate per second.

    Args:
        kafka: the cluster.
        plan: which ones.
        rate: dead letters per second.
        progress: called with the totals after each chunk.
        begun: called when an earlier replay is fenced and this one begins.

    Raises:
        ReplayFencedError: another replay has been started since.
        MissingAclError: an ACL is missing.
        ClusterUnavailableError: no broker answers, or a topic is missing.
    """
    await require_acls(kafka, operator_acls(kafka.topic_prefix))
    store = await open_store(kafka)
    async with open_replay_producer(kafka) as producer:
        begun()
        return await Replay(
            store,
            producer,
            topic_prefix=kafka.topic_prefix,
            limiter=ReplayRateLimiter(rate),
            progress=progress,
        ).run(plan)


async def require_resolving(kafka: KafkaSettings) -> None:
    """Check the ACL of `resolve`.

    Raises:
        MissingAclError: it is missing.
        ClusterUnavailableError: no broker answers.
    """
    await require_acls(kafka, topic_acls(kafka.topic_prefix, writes=(MARKS,)))


async def resolve(
    kafka: KafkaSettings, dead_letters: Sequence[DeadLetterRecord], mark: DeadLetterStatus
) -> None:
    """Mark dead letters as resolved; all of them or none.

    Raises:
        DecidedDeadLetterError: one is replayed.
        ClusterUnavailableError: no broker answers.
    """
    for dead_letter in dead_letters:
        if dead_letter.mark is not None and dead_letter.mark.state == "replayed":
            raise DecidedDeadLetterError(
                f"{dead_letter.id} is already replayed; no dead letter was resolved"
            )
    await publish_mark(kafka, dead_letters, mark)
