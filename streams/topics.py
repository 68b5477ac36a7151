"""The one table of topics. Names, keys, retention and purpose of everything on Kafka."""

from datetime import timedelta

import msgspec

PREFIX = "clipmill."
VERSION = ".v1"

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)

MESSAGE_BYTES_MAX = 2_097_152
"""Largest record on any topic; twice what a client may send, so that wrapping one always fits."""

REQUEST_BYTES_MAX = 1_000_000
"""Largest request that is accepted: Kafka's own default for producers."""


class Topic(msgspec.Struct, frozen=True, cache_hash=True):
    """One topic.

    Attributes:
        name: logical name; on Kafka it stands between prefix and version.
        key: what its records are keyed by.
        purpose: what it is for, one sentence.
        retention: how long records are kept.
        compacted: keep the newest record of each key instead, for ever unless ``expires``.
        expires: compacted records are dropped too when they are older than ``retention``.
        segment: age at which the broker closes a file of the log; only closed files are compacted.
            None for the broker's own: a week.
        partitions: None for the number in the settings.
        version: last part of the name on Kafka.
        foreign: the name is the whole name on Kafka; an existing topic may be of any configuration.
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
        """Return the name of the topic on Kafka."""
        if self.foreign:
            return self.name
        return f"{prefix}{self.name}{self.version}"


REQUESTS = Topic("requests", "the client's own", "What clients ask for.")
VALIDATED = Topic("videos.validated", "video key", "Posts and listings that are to be extracted.")
EXTRACTED = Topic("videos.extracted", "video key", "Videos whose page has been read.")
SELECTED = Topic("videos.selected", "video key", "Videos that are to be downloaded.")
ERRORS = Topic("errors", "video key", "Failed attempts, each with the event that failed.")
DEADLETTERS = Topic(
    "deadletters",
    "original key",
    "Records that nobody could handle: key, value and headers as they were.",
    retention=4 * _WEEK,
)
MARKS = Topic(
    "deadletters.marks",
    "dead letter",
    "What operators did with dead letters.",
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
    partitions=1,
)
AUDIT = Topic("audit", "request id", "Every transition of every request.")
PROGRESS = Topic("progress", "request id", "How far downloads are.", retention=_DAY)
COMMANDS = Topic("commands", "request id", "What operators and users order.")
HEARTBEATS = Topic(
    "heartbeats",
    "partition",
    "Read by every stage beside its sources: one that commits none of them stands still.",
    # Keyed and compacted: a stage that was away for days finds minutes of them, and no offset that
    # has expired.
    compacted=True,
    segment=timedelta(minutes=10),
)
RESULTS = Topic("results", "request id", "Exactly one outcome per URL, and the end of each batch.")

DELAYS: dict[Topic, timedelta] = {
    Topic(f"retry.{name}", "video key", f"Events that wait {name} or less.", 2 * _WEEK): delay
    for name, delay in {
        "5s": timedelta(seconds=5),
        "30s": timedelta(seconds=30),
        "2m": timedelta(minutes=2),
        "10m": timedelta(minutes=10),
        "1h": timedelta(hours=1),
    }.items()
}
"""The delay topics, shortest first, with the longest wait that each one is meant for."""

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
"""Topics whose backlog holds back the stages that write them, each with the stage that reads it.
Failures, retries and commands are never held back."""

CLIENT_TOPICS = frozenset({REQUESTS.name, COMMANDS.name})
"""Names of the topics that clients write to."""

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def changelog_topic(stage: str, table: str) -> Topic:
    """Return the changelog of a stage's table, under the name that Faust gives it."""
    return Topic(
        f"{stage}-{table}-changelog",
        "row key",
        f"Rows of the table {table} of {stage}.",
        compacted=True,
        version="",
    )


def reply_topic(kafka_name: str) -> Topic:
    """Return a topic that clients read their results from instead of `RESULTS`."""
    purpose = "Results of requests that name it in reply_to."
    return Topic(kafka_name, RESULTS.key, purpose, RESULTS.retention, foreign=True)


def delay_topic(wait: timedelta) -> Topic:
    """Return the delay topic for a wait: the shortest one that is at least as long."""
    return next((topic for topic, delay in DELAYS.items() if wait <= delay), list(DELAYS)[-1])
