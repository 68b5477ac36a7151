"""The job: an `info` request for a known video, with the records and bytes that clipmill writes.

The request is checked, the page of its video is looked up in keyed state, and six records are
written: the validated event, two audit records, two rows of the request in the changelog of the
state, and the result. The offset of the request is committed after their acknowledgement.
"""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

REQUESTS, VALIDATED, AUDIT, CHANGELOG, RESULTS = (
    "requests",
    "validated",
    "audit",
    "changelog",
    "results",
)
TOPICS = (REQUESTS, VALIDATED, AUDIT, CHANGELOG, RESULTS)
PARTITIONS = 4
BATCH = 500
COMMIT_SECONDS = 1.0

PAGE = orjson.dumps({"title": "A video", "formats": ["x" * 350] * 10})
"""The cached page of a video; a result has all of it, 4.4 KB."""

HEADERS: list[tuple[str, bytes]] = [
    ("ce_specversion", b"1.0"),
    ("ce_type", b"peer.event.v1"),
    ("ce_source", b"/peer/step"),
    ("ce_time", b"2026-11-29T12:00:00.000000Z"),
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
]

State = MutableMapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Output:
    """A record to write, keyed by request id; the validated event by video."""

    topic: str
    key: str
    value: bytes


def process(body: bytes, state: State) -> Iterator[Output]:
    """Yield the records of a request; reads and writes the state.

    Raises:
        ValueError: the request is invalid.
    """
    request = orjson.loads(body)
    request_id, url = request["id"], urlsplit(request["url"])
    if url.scheme != "https" or not url.hostname or request["action"] != "info":
        raise ValueError(request_id)
    video = url.path.rpartition("/")[2]
    event = {
        "request_id": request_id,
        "video": {"platform": "tiktok", "id": video},
        "url": url.path,
    }
    padding = "x" * 700
    yield Output(VALIDATED, video, orjson.dumps({**event, "job": padding}))
    accepted = {**event, "transition": "accepted", "job": padding}
    yield Output(AUDIT, request_id, orjson.dumps(accepted))
    yield _row(state, request_id, {**event, "kind": "open"})
    page = state.get(video)
    if page is None:
        page = state[video] = PAGE
    result = {**event, "status": "completed", "video": orjson.loads(page)}
    outcome = orjson.dumps(result)
    yield Output(AUDIT, request_id, outcome)
    yield _row(state, request_id, {**event, "kind": "decided"})
    yield Output(RESULTS, request_id, outcome)


def _row(state: State, request_id: str, row: dict[str, object]) -> Output:
    value = orjson.dumps({**row, "expires_at": 1.8e9, "more": "x" * 200})
    state[f"row-{request_id}"] = value
    return Output(CHANGELOG, request_id, value)
