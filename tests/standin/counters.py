"""Request counters of the stand-in, read by tests and benchmarks."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Enough for a long benchmark, in about 20 MB.
MAX_EVENTS = 200_000
MAX_VIDEOS = 200_000


class Event(NamedTuple):
    """One request: arrival (Unix seconds), kind, video, status of the response, egress."""

    at: float
    kind: str
    video_id: str
    status: int
    egress: str = ""


@dataclass
class Counters:
    """Counts since the start or the last reset.

    Attributes:
        requests: By kind: page, short, media, image, profile, embed, listing, and each with
            ``_head`` for HEAD; other.
        statuses: By HTTP status of the response, even when it was never sent.
        videos: By video id (of lists: name of the account or id of the collection) and kind.
        egresses: By egress and kind.
        events: The latest requests in order.
        refused_hosts: Other hosts that clients tried to connect to.
        connections: TLS connections established.
        failed_handshakes: TLS handshakes that failed.
        open_media: Media responses in flight.
        max_open_media: Maximum of ``open_media``.
    """

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    videos: Counter[tuple[str, str]] = field(default_factory=Counter)
    egresses: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    refused_hosts: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    failed_handshakes: int = 0
    open_media: int = 0
    max_open_media: int = 0

    def count(self, kind: str, video_id: str, status: int, egress: str = "") -> None:
        self.requests[kind] += 1
        self.egresses[egress, kind] += 1
        self.statuses[status] += 1
        if video_id and len(self.videos) < MAX_VIDEOS:
            self.videos[video_id, kind] += 1
        self.events.append(Event(time.time(), kind, video_id, status, egress))

    def of(self, video_id: str, kind: str = "page") -> int:
        """The number of requests of a kind for a video."""
        return self.videos[video_id, kind]

    @contextmanager
    def media_stream(self) -> Iterator[None]:
        """Counts a media response as open while it is sent."""
        self.open_media += 1
        self.max_open_media = max(self.max_open_media, self.open_media)
        try:
            yield
        finally:
            self.open_media -= 1

    def reset(self) -> None:
        """Reset all counts; streams in flight stay counted as open."""
        stores = (self.requests, self.statuses, self.videos, self.egresses, self.refused_hosts)
        for store in stores:
            store.clear()
        self.events.clear()
        self.connections = self.failed_handshakes = 0
        self.max_open_media = self.open_media

    def as_json(self, latest: int = 1000) -> dict[str, Any]:
        """All counters as plain data, with the latest events."""
        return {
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "videos": _by_owner(self.videos),
            "egresses": _by_owner(self.egresses),
            "events": [event._asdict() for event in list(self.events)[-latest:]],
            "refused_hosts": dict(self.refused_hosts),
            "connections": self.connections,
            "failed_handshakes": self.failed_handshakes,
            "open_media": self.open_media,
            "max_open_media": self.max_open_media,
        }


def _by_owner(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (owner, kind), count in counts.items():
        found.setdefault(owner, {})[kind] = count
    return found
