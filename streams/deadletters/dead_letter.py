"""A dead letter with its metadata and state, a filter of them, and the replay record made of it."""

import heapq
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.headers import (
    BATCH_TYPE,
    REPLAY_OF,
    REPLAYS,
    DeadLetterHeaders,
    split_headers,
)
from streams.records import Header, Outgoing
from streams.topics import BY_NAME

DeadLetterState = Literal["waiting", "replayed", "parked", "resolved"]
"""``parked``: failed again after a replay."""

STATES: tuple[DeadLetterState, ...] = get_args(DeadLetterState)

_ID = re.compile(r"(\d{1,9})-(\d{1,18})-\d{1,18}", re.ASCII)


class DeadLetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its key, value and headers: what an index keeps.

    Attributes:
        id: ``<partition>-<offset>-<timestamp in milliseconds>``; the timestamp makes it unique,
            because marks outlive a topic that is deleted and recreated.
        metadata: origin and failure.
        obstacle: why it can never be replayed, None when it can.
        mark: latest operator action on it.
    """

    id: str
    metadata: DeadLetterHeaders
    obstacle: str | None = None
    mark: DeadLetterStatus | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """Deduplication key: a stage killed before its commit publishes a dead letter twice."""
        about = self.metadata
        if not about.origin_topic:
            return (self.id,)
        position = (about.origin_topic, about.origin_partition, about.origin_offset)
        return (*position, about.origin_timestamp, about.step, about.request_id, about.replays)

    def state(self, replays_max: int) -> DeadLetterState:
        """Return the state; at ``replays_max`` failed replays a dead letter is parked."""
        if self.mark is not None:
            return self.mark.state
        return "parked" if self.metadata.replays >= replays_max else "waiting"


class DeadLetterRecord(DeadLetterSummary, frozen=True, kw_only=True):
    """A consumed dead letter.

    Attributes:
        key: key of the original record, byte for byte.
        value: value of the original record, byte for byte.
        headers: headers of the original record, byte for byte.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    def summary(self) -> DeadLetterSummary:
        return DeadLetterSummary(
            id=self.id, metadata=self.metadata, obstacle=self.obstacle, mark=self.mark
        )


def position_of(dead_letter_id: str) -> tuple[int, int] | None:
    """Return the partition and the offset in an id, None when it is not one."""
    match = _ID.fullmatch(dead_letter_id)
    return None if match is None else (int(match[1]), int(match[2]))


def read_dead_letter(record: Any, marks: Mapping[str, DeadLetterStatus]) -> DeadLetterRecord:
    """Decode a dead letter; a foreign record gets metadata with its timestamp only."""
    headers, metadata = split_headers(record.headers)
    if metadata is None:
        metadata = DeadLetterHeaders(failed_at=datetime.fromtimestamp(record.timestamp / 1000, UTC))
    name = f"{record.partition}-{record.offset}-{record.timestamp}"
    return DeadLetterRecord(
        id=name,
        key=record.key,
        value=record.value,
        headers=headers,
        metadata=metadata,
        obstacle=find_obstacle(metadata.origin_topic, headers, record.value),
        mark=marks.get(name),
    )


def find_obstacle(
    origin_topic: str, headers: tuple[Header, ...], value: bytes | None
) -> str | None:
    """Return why a record can never be replayed, None when it can."""
    if origin_topic not in BY_NAME:
        return "its headers name no origin topic of clipmill"
    if ("content-type", BATCH_TYPE.encode()) in headers:
        return "it is a record batch that could not be decoded"
    if value is None:
        return "it has no value: the value was empty, or exceeded the maximum size"
    return None


def replay_of(dead_letter: DeadLetterRecord) -> Outgoing:
    """Return the original record with the replay headers; it must have no obstacle."""
    headers = dead_letter.headers
    if tuple(name for name, _ in headers[-2:]) == (REPLAYS, REPLAY_OF):
        headers = headers[:-2]
    added = (
        (REPLAYS, str(dead_letter.metadata.replays + 1).encode()),
        (REPLAY_OF, dead_letter.id.encode()),
    )
    topic = BY_NAME[dead_letter.metadata.origin_topic]
    return Outgoing(topic, dead_letter.key, dead_letter.value, (*headers, *added))


def refusal(dead_letter: DeadLetterSummary, *, replays_max: int, force: bool) -> str | None:
    """Return why a dead letter is not replayed now, None when it is.

    A replayed one is never replayed again: its replay is a request of its own, and a further
    failure a dead letter of its own.
    """
    state = dead_letter.state(replays_max)
    if dead_letter.obstacle is not None:
        return dead_letter.obstacle
    if state == "replayed":
        return "already replayed"
    if state in ("parked", "resolved") and not force:
        return f"{state}: requires --force"
    return None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conjunction of criteria; an empty one matches everything.

    Attributes:
        ids: dead-letter ids.
        codes: error codes or code families: ``network`` matches ``network.timeout`` too.
        platform: name of the platform.
        step: the stage that failed.
        since: lower bound of the failure time, inclusive.
        until: upper bound of the failure time, inclusive.
        engine: version of yt-dlp.
        state: replay state.
        replays_max: failed replays after which a dead letter counts as parked.
    """

    ids: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()
    platform: str | None = None
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    engine: str | None = None
    state: DeadLetterState | None = None
    replays_max: int = 1

    def matches(self, dead_letter: DeadLetterSummary) -> bool:
        metadata = dead_letter.metadata
        criteria = (
            (self.platform, metadata.platform),
            (self.step, metadata.step),
            (self.engine, metadata.engine),
            (self.state, dead_letter.state(self.replays_max)),
        )
        return (
            (not self.ids or dead_letter.id in self.ids)
            and (not self.codes or any(_is_of(metadata.code, code) for code in self.codes))
            and all(expected is None or expected == found for expected, found in criteria)
            and (self.since is None or self.since <= metadata.failed_at)
            and (self.until is None or metadata.failed_at <= self.until)
        )


def _is_of(code: str, family: str) -> bool:
    return code == family or code.startswith(f"{family}.")


Kept = TypeVar("Kept", bound=DeadLetterSummary)


class NewestDeadLetters(Generic[Kept]):
    """Keeps the newest ``limit`` matching dead letters of any number.

    Attributes:
        count: number of all that match.
    """

    def __init__(self, wanted: Filter, limit: int) -> None:
        self._wanted = wanted
        self._limit = limit
        self._newest: list[tuple[datetime, str, Kept]] = []
        self.count = 0

    def add(self, dead_letter: Kept) -> None:
        if not self._wanted.matches(dead_letter):
            return
        self.count += 1
        heapq.heappush(self._newest, (dead_letter.metadata.failed_at, dead_letter.id, dead_letter))
        if len(self._newest) > self._limit:
            heapq.heappop(self._newest)

    def newest_first(self) -> list[Kept]:
        return [dead_letter for *_, dead_letter in sorted(self._newest, reverse=True)]
