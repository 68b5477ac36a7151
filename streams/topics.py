"""Topic registry: name, key, retention, compaction and purpose of every topic."""

from datetime import timedelta

import msgspec

PREFIX = "clipmill."
VERSION = ".v1"

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)

MESSAGE_BYTES_MAX = 2_097_152
"""Largest record on any topic; twice `REQUEST_BYTES_MAX`, so that a wrapped request always fits."""

REQUEST_BYTES_MAX = 1_000_000
"""Largest accepted request: the default of Kafka producers."""


class Topic(msgspec.Struct, frozen=True, cache_hash=True):
    """Definition of a topic.

    Attributes:
        name: logical name; the Kafka name has a prefix and a version around it.
        key: record key, as a phrase.
        purpose: one sentence.
        retention: retention time of records.
        compacted: compact by key instead of deleting; no time limit unless ``expires``.
        expires: delete compacted records too when they are older than ``retention``.
        segment: age at which the broker rolls a segment; only closed segments are compacted. None
            for the broker's default, a week.
        partitions: None for the number in the settings.
        version: suffix of the Kafka name.
        foreign: the name is the full Kafka name; an existing topic may have any configuration.
    """

    name: str
    key: str
    purpose: str
    retention: timedelta = _WEEK
    compacted: bool = False
    expires: bool = False
    segment: timedelta | None = None
    partitions: int | None = None
    version: str = VERSION
    foreign: bool = False

    def kafka_name(self, prefix: str = PREFIX) -> str:
        if self.foreign:
            return self.name
        return f"{prefix}{self.name}{self.version}"


REQUESTS = Topic("requests", "the client's own", "Requests of clients.")
VALIDATED = Topic("videos.validated", "video key", "Posts and listings to extract.")
EXTRACTED = Topic("videos.extracted", "video key", "Videos with extracted page data.")
SELECTED = Topic("videos.selected", "video key", "Videos to download.")
ERRORS = Topic("errors", "video key", "Failed attempts, each with the event that failed.")
DEADLETTERS = Topic(
    "deadletters",
    "original key",
    "Records that could not be processed: key, value and headers unchanged.",
    retention=4 * _WEEK,
)
MARKS = Topic(
    "deadletters.marks",
    "dead letter",
    "Replays and resolutions of dead letters by operators.",
    retention=5 * _WEEK,
    compacted=True,
    expires=True,
    partitions=1,
)
ATTEMPTS = Topic(
    "attempts", "platform:operation:egress", "Outcome of every network attempt.", retention=_DAY
)
SIGNALS = Topic(
    "signals",
    "kind/name",
    "Shared state of all workers.",
    retention=2 * _WEEK,
    compacted=True,
    expires=True,
    # Every process reads it from the beginning, and each busy worker adds 10 MB a day, of which
    # compaction leaves 2 KB.
    segment=timedelta(hours=1),
    partitions=1,
)
AUDIT = Topic("audit", "request id", "Every transition of every request.")
PROGRESS = Topic("progress", "request id", "Progress of downloads.", retention=_DAY)
COMMANDS = Topic("commands", "request id", "Commands of operators and users.")
HEARTBEATS = Topic(
    "heartbeats",
    "partition",
    "Read by every stage beside its sources: a stage that commits none of them is stalled.",
    # Keyed and compacted: a stage that was down for days replays minutes of them, and its committed
    # offset has not expired.
    compacted=True,
    segment=timedelta(minutes=10),
)
RESULTS = Topic("results", "request id", "Exactly one outcome per URL, and the end of each batch.")

DELAYS: dict[Topic, timedelta] = {
    Topic(f"retry.{name}", "video key", f"Events delayed by {name} or less.", 2 * _WEEK): delay
    for name, delay in {
        "5s": timedelta(seconds=5),
        "30s": timedelta(seconds=30),
        "2m": timedelta(minutes=2),
        "10m": timedelta(minutes=10),
        "1h": timedelta(hours=1),
    }.items()
}
"""Delay topics, shortest first, with the maximum delay of each."""

TOPICS: tuple[Topic, ...] = (
    REQUESTS,
    VALIDATED,
    EXTRACTED,
    SELECTED,
    ERRORS,
    *DELAYS,
    DEADLETTERS,
    MARKS,
    ATTEMPTS,
    SIGNALS,
    AUDIT,
    PROGRESS,
    COMMANDS,
    RESULTS,
    HEARTBEATS,
)

READERS: dict[Topic, str] = {
    VALIDATED: "extraction",
    EXTRACTED: "selection",
    SELECTED: "download",
    AUDIT: "ledger",
}
"""Topics with back-pressure on their producers, each with its consuming stage. Failures, retries
and commands are exempt."""

EVENTS = frozenset({VALIDATED, EXTRACTED, SELECTED})
"""Topics of the events that one step publishes for the next, if that one is not chained."""

CLIENT_TOPICS = frozenset({REQUESTS.name, COMMANDS.name})
"""Logical names of the topics that clients produce to."""

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def changelog_topic(stage: str, table: str) -> Topic:
    """Return the changelog topic of a stage's table, named as Faust names it."""
    return Topic(
        f"{stage}-{table}-changelog",
        "row key",
        f"Rows of the table {table} of {stage}.",
        compacted=True,
        version="",
    )


def reply_topic(kafka_name: str) -> Topic:
    """Return a topic from which clients consume their results instead of `RESULTS`."""
    purpose = "Results of requests that name it in reply_to."
    return Topic(kafka_name, RESULTS.key, purpose, RESULTS.retention, foreign=True)


def delay_topic(wait: timedelta) -> Topic:
    """Return the shortest delay topic that covers a wait, the longest one if none does."""
    return next((topic for topic, delay in DELAYS.items() if wait <= delay), list(DELAYS)[-1])
