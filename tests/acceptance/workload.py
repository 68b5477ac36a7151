"""Three hundred requests of all kinds, and the outcome that each of them must have."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.standin import short_code, video_id

SMALLEST: Mapping[str, Any] = {"options": {"quality": "worst"}}
"""Half a megabyte instead of two: what counts here is how long a file takes."""


@dataclass(frozen=True)
class Asked:
    """One record for the requests topic.

    Attributes:
        value: its bytes.
        expects: the status of each outcome by request id; a record without any names itself after
            its place on the topic and is to be rejected.
    """

    value: bytes | None
    expects: Mapping[str, str] = field(default_factory=dict)


def page(video: str) -> str:
    return f"https://www.tiktok.com/@_/video/{video}"


def ask(request_id: str, status: str, url: str, **fields: Any) -> Asked:
    body = {"id": request_id, "url": url, **fields}
    return Asked(json.dumps(body).encode(), {request_id: status})


def workload(chance: random.Random) -> list[Asked]:
    """Return 300 records in random order."""
    asked = [
        *_slow_downloads(),
        *_quick_downloads(),
        *_batches(),
        *_infos(),
        *_hopeless(),
        *_answered_late(),
        *_short_links(),
        *_garbage(),
    ]
    chance.shuffle(asked)
    return asked


def _slow_downloads() -> Iterator[Asked]:
    """Media of one to three seconds; 40 of the videos are asked for twice."""
    for serial in range(84):
        url = page(video_id("media.takes", param=1 + serial % 3, serial=serial))
        yield ask(f"slow-{serial}", "completed", url, **SMALLEST)
        if serial < 40:
            yield ask(f"again-{serial}", "completed", url, **SMALLEST)
    for serial in range(20):
        url = page(video_id("media.slow", param=256, serial=serial))
        yield ask(f"trickle-{serial}", "completed", url, **SMALLEST)


def _quick_downloads() -> Iterator[Asked]:
    """Small files; six of the requests are published twice under one id."""
    for serial in range(40):
        url = page(video_id("kilobytes", param=40 + serial, serial=serial))
        asked = ask(f"quick-{serial}", "completed", url)
        yield from [asked] * (2 if serial < 6 else 1)


def _batches() -> Iterator[Asked]:
    for number in range(8):
        videos = [video_id("kilobytes", param=20, serial=100 + number * 3 + at) for at in range(3)]
        gone = video_id("deleted", serial=100 + number)
        urls = [*map(page, videos), page(gone), "https://www.tiktok.com/not/a/video"]
        statuses = ["completed"] * 3 + ["failed", "rejected"]
        expects = {f"batch-{number}/{at}": status for at, status in enumerate(statuses)}
        yield Asked(json.dumps({"id": f"batch-{number}", "urls": urls}).encode(), expects)


def _infos() -> Iterator[Asked]:
    for serial in range(24):
        yield ask(f"info-{serial}", "completed", page(video_id(serial=serial)), action="info")


def _hopeless() -> Iterator[Asked]:
    for scenario in ("deleted", "private", "page.404", "noformats"):
        for serial in range(6):
            url = page(video_id(scenario, serial=serial))
            yield ask(f"{scenario}-{serial}", "failed", url)


def _answered_late() -> Iterator[Asked]:
    """Answered 503 once (tried again after 5 s) or twice (then after 30 s)."""
    for scenario, times, count in (("page.503", 1, 14), ("page.503", 2, 4), ("media.503", 1, 6)):
        for serial in range(count):
            url = page(video_id(scenario, times=times, serial=serial))
            yield ask(f"{scenario}-{times}-{serial}", "completed", url, **SMALLEST)


def _short_links() -> Iterator[Asked]:
    for serial in range(16):
        alive = serial % 4 > 0
        video = video_id("kilobytes", param=30, serial=200 + serial)
        link = f"https://vm.tiktok.com/{short_code(video, 'video' if alive else 'dead')}/"
        yield ask(f"short-{serial}", "completed" if alive else "failed", link)


def _garbage() -> Iterator[Asked]:
    for value in (None, b"", b"\xff\xfe\x00", b"{", b"[]", b"17", b'"text"', b'{"no": "url"}'):
        yield Asked(value)
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
        yield Asked(value, {request_id: "rejected"})
