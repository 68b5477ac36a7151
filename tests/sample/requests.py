"""The requests of the sample: one of each kind."""

import json
from typing import Any

from tests.standin import short_code, user_name, video_id

PAGE = "https://www.tiktok.com/@{user}/video/{id}"


def page(user: str = "wanderer", **scenario: Any) -> str:
    """Return the URL of one of the stand-in's videos."""
    return PAGE.format(user=user, id=video_id(**scenario))


BATCH = [page("kitchen", serial=11), page("kitchen", serial=12), "https://example.com/not-here"]

REQUESTS: dict[str, dict[str, Any]] = {
    "full-url": {"url": page(serial=1)},
    "short-link": {"url": f"https://vm.tiktok.com/{short_code(video_id(serial=2))}/"},
    "info-only": {"url": page(serial=3), "action": "info"},
    "small-please": {"url": page(serial=4), "options": {"quality": "480p"}},
    "slow-download": {"url": page(scenario="media.takes", param=5, serial=5)},
    "photo-post": {"url": page(scenario="photo", param=12, serial=8).replace("/video/", "/photo/")},
    "profile": {"url": "https://www.tiktok.com/@wanderer", "action": "list"},
    "newest-two": {"url": "https://www.tiktok.com/@kitchen", "options": {"limit": 2}},
    "batch": {"urls": BATCH},
    "deleted": {"url": page(scenario="deleted", serial=6)},
    "unsteady": {"url": page(user_name("page.503", times=2), serial=7)},
}
"""By request id."""

GARBAGE = b"\x00\x9f\x92\x96 this is no request"


def bodies() -> list[bytes]:
    """Return the records to publish, garbage last."""
    return [json.dumps({"id": name, **fields}).encode() for name, fields in REQUESTS.items()] + [
        GARBAGE
    ]


def result_ids() -> set[str]:
    """Return the ids of the expected results, except that of the garbage record."""
    return set(REQUESTS) | {f"batch/{index}" for index in range(len(BATCH))}


EXPECTED = {
    "batch": "batch_finished",
    "deleted": "failed",
    "batch/2": "rejected",
}
"""Statuses other than ``completed``."""
