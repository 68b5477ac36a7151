"""A workload of requests of all kinds, with the expected outcome of each."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.standin import short_code, video_id

SMALLEST: Mapping[str, Any] = {"options": {"quality": "worst"}}
"""0.5 MB instead of 2: the duration of a transfer matters here, not its size."""


@dataclass(frozen=True)
class WorkloadRecord:
    """A record for the requests topic.

    Attributes:
        value: of the record.
        expected: status of each outcome by request id; empty for a record without an id, which is
            rejected under its default id.
    """

    value: bytes | None
    expected: Mapping[str, str] = field(default_factory=dict)


def page(video: str) -> str:
    return f"https://www.tiktok.com/@_/video/{video}"


def request_record(request_id: str, status: str, url: str, **fields: Any) -> WorkloadRecord:
    body = {"id": request_id, "url": url, **fields}
    return WorkloadRecord(json.dumps(body).encode(), {request_id: status})


CACHED_VIDEOS = 50
"""Videos whose pages the additional requests of a workload share."""


def workload(rng: random.Random, *, cached: int = 0) -> list[WorkloadRecord]:
    """Return 300 records, and so many requests for cached pages, in random order."""
    records = [
        *_slow_downloads(),
        *_quick_downloads(),
        *_batches(),
        *_infos(),
        *_cached_infos(cached),
        *_permanent_failures(),
        *_transient_failures(),
        *_short_links(),
        *_invalid_records(),
    ]
    rng.shuffle(records)
    return records


def _slow_downloads() -> Iterator[WorkloadRecord]:
    """Media that take one to three seconds; 40 of the videos are requested twice."""
    for serial in range(84):
        url = page(video_id("media.takes", param=1 + serial % 3, serial=serial))
        yield request_record(f"slow-{serial}", "completed", url, **SMALLEST)
        if serial < 40:
            yield request_record(f"again-{serial}", "completed", url, **SMALLEST)
    for serial in range(20):
        url = page(video_id("media.slow", param=256, serial=serial))
        yield request_record(f"trickle-{serial}", "completed", url, **SMALLEST)


def _quick_downloads() -> Iterator[WorkloadRecord]:
    """Small files; six of the requests are published twice with the same id."""
    for serial in range(40):
        url = page(video_id("kilobytes", param=40 + serial, serial=serial))
        records = request_record(f"quick-{serial}", "completed", url)
        yield from [records] * (2 if serial < 6 else 1)


def _batches() -> Iterator[WorkloadRecord]:
    for number in range(8):
        videos = [video_id("kilobytes", param=20, serial=100 + number * 3 + at) for at in range(3)]
        gone = video_id("deleted", serial=100 + number)
        urls = [*map(page, videos), page(gone), "https://www.tiktok.com/not/a/video"]
        statuses = ["completed"] * 3 + ["failed", "rejected"]
        expected = {f"batch-{number}/{at}": status for at, status in enumerate(statuses)}
        yield WorkloadRecord(json.dumps({"id": f"batch-{number}", "urls": urls}).encode(), expected)


def _infos() -> Iterator[WorkloadRecord]:
    for serial in range(24):
        yield request_record(
            f"info-{serial}", "completed", page(video_id(serial=serial)), action="info"
        )


def _cached_infos(count: int) -> Iterator[WorkloadRecord]:
    for serial in range(count):
        url = page(video_id(serial=serial % CACHED_VIDEOS))
        yield request_record(f"cached-{serial}", "completed", url, action="info")


def _permanent_failures() -> Iterator[WorkloadRecord]:
    for scenario in ("deleted", "private", "page.404", "noformats"):
        for serial in range(6):
            url = page(video_id(scenario, serial=serial))
            yield request_record(f"{scenario}-{serial}", "failed", url)


def _transient_failures() -> Iterator[WorkloadRecord]:
    """Answered 503 once (retried after 5 s) or twice (retried again after 30 s)."""
    for scenario, times, count in (("page.503", 1, 14), ("page.503", 2, 4), ("media.503", 1, 6)):
        for serial in range(count):
            url = page(video_id(scenario, times=times, serial=serial))
            yield request_record(f"{scenario}-{times}-{serial}", "completed", url, **SMALLEST)


def _short_links() -> Iterator[WorkloadRecord]:
    for serial in range(16):
        alive = serial % 4 > 0
        video = video_id("kilobytes", param=30, serial=200 + serial)
        link = f"https://vm.tiktok.com/{short_code(video, 'video' if alive else 'dead')}/"
        yield request_record(f"short-{serial}", "completed" if alive else "failed", link)


def _invalid_records() -> Iterator[WorkloadRecord]:
    for value in (None, b"", b"\xff\xfe\x00", b"{", b"[]", b"17", b'"text"', b'{"no": "url"}'):
        yield WorkloadRecord(value)
    video = page(video_id())
    wrong: tuple[dict[str, Any], ...] = (
        {"url": 5},
        {"url": "x", "urls": ["y"]},
        {"url": video, "quality": "best"},
        {"url": video, "options": {"exec": "rm"}},
        {"url": video, "deadline": "soon"},
        {"urls": []},
    )
    for number, fields in enumerate(wrong):
        request_id = f"wrong-{number}"
        value = json.dumps({"id": request_id, **fields}).encode()
        yield WorkloadRecord(value, {request_id: "rejected"})
