"""An endless mixed load: cached, new, failing and invalid requests."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.standin import short_code, video_id

HOT = 20
"""Videos that are requested all the time."""

REPEAT_SECONDS = 60.0
"""Time after which videos repeat: three times the TTL of their rows in the soak, so that the share
of cache hits is the same at every rate, and tables do not grow."""

OPEN_SECONDS = 60.0
"""Requests of one kind without an outcome, in seconds of its rate, at which that kind is skipped:
half of the time that the soak waits for outcomes at its end. A limit for all kinds together was
used up by the requests in delay topics, and held back all others."""


@dataclass(frozen=True)
class SoakRequest:
    """A record for the requests topic.

    Attributes:
        kind: name of its kind, for the report.
        value: of the record.
        expected: status of each of its outcomes, by request id.
        open_max: outcomes of its kind that may be missing before it is skipped.
    """

    kind: str
    value: bytes
    expected: Mapping[str, str]
    open_max: int


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: for the report.
        weight: number of requests per round.
        status: of each outcome.
        body: builds the request from its number and the number of videos that repeat.
    """

    name: str
    weight: int
    status: tuple[str, ...]
    body: Callable[[int, int], dict[str, Any]]

    def count(self, rate: float, seconds: float) -> int:
        """Return the number of its requests in a time, at a rate of all kinds together."""
        return math.ceil(rate * seconds * self.weight / ROUND)


def _page(video: str, form: str = "video") -> str:
    return f"https://www.tiktok.com/@_/{form}/{video}"


def _small(serial: int) -> str:
    return video_id("kilobytes", param=64, serial=serial)


def _known_page(number: int, _ring: int) -> dict[str, Any]:
    return {"url": _page(_small(number % HOT)), "action": "info"}


def _known_file(number: int, _ring: int) -> dict[str, Any]:
    return {"url": _page(_small(number % HOT))}


def _new_file(number: int, ring: int) -> dict[str, Any]:
    return {"url": _page(_small(HOT + number % ring))}


def _large_file(number: int, ring: int) -> dict[str, Any]:
    return {"url": _page(video_id("size", param=1, serial=number % ring))}


def _refreshed(number: int, ring: int) -> dict[str, Any]:
    return {**_known_file(number, ring), "options": {"refresh": True}}


def _photos(number: int, ring: int) -> dict[str, Any]:
    return {"url": _page(video_id("photo", param=3, serial=number % ring), "photo")}


def _short_link(number: int, _ring: int) -> dict[str, Any]:
    return {"url": f"https://vm.tiktok.com/{short_code(_small(number % HOT))}/"}


def _dead_link(number: int, _ring: int) -> dict[str, Any]:
    return {"url": f"https://vm.tiktok.com/{short_code(_small(number % HOT), 'dead')}/"}


def _batch(number: int, ring: int) -> dict[str, Any]:
    known, gone = _small(number % HOT), video_id("deleted", serial=number % ring)
    return {"urls": [_page(known), _page(gone), "https://www.tiktok.com/not/a/video"]}


def _gone(number: int, ring: int) -> dict[str, Any]:
    scenario = ("deleted", "private", "page.404", "noformats")[number % 4]
    return {"url": _page(video_id(scenario, serial=number % ring))}


def _late_page(number: int, _ring: int) -> dict[str, Any]:
    return {"url": _page(video_id("page.503", times=1, serial=number)), "action": "info"}


def _late_file(number: int, _ring: int) -> dict[str, Any]:
    video = video_id("media.503", times=1, serial=number)
    return {"url": _page(video), "options": {"quality": "worst"}}


def _no_request(number: int, _ring: int) -> dict[str, Any]:
    return {"url": _page(_small(number % HOT)), "no": "such field"}


DONE = ("completed",)
FAILED = ("failed",)

KINDS = (
    Kind("known page", 4, DONE, _known_page),
    Kind("known file", 4, DONE, _known_file),
    Kind("new file", 3, DONE, _new_file),
    Kind("new file, 1 MiB", 1, DONE, _large_file),
    Kind("refreshed", 1, DONE, _refreshed),
    Kind("3 pictures", 1, DONE, _photos),
    Kind("short link", 1, DONE, _short_link),
    Kind("dead short link", 1, FAILED, _dead_link),
    Kind("batch of 3", 1, (*DONE, *FAILED, "rejected"), _batch),
    Kind("gone", 1, FAILED, _gone),
    Kind("page comes late", 1, DONE, _late_page),
    Kind("file comes late", 1, DONE, _late_file),
    Kind("no request", 1, ("rejected",), _no_request),
)

ROUND = sum(kind.weight for kind in KINDS)


def mixed_load(run: str, rate: float) -> Iterator[SoakRequest]:
    """Yield requests endlessly; each kind is spread over a round.

    Args:
        run: prefix of the ids, so that those of two runs differ.
        rate: requests a second that will be published.
    """
    round_of = sorted(
        ((place + 0.5) / kind.weight, order)
        for order, kind in enumerate(KINDS)
        for place in range(kind.weight)
    )
    numbers = [itertools.count(1) for _ in KINDS]
    for total in itertools.count(1):
        _, order = round_of[total % ROUND]
        yield _request(KINDS[order], next(numbers[order]), f"{run}-{total}", rate)


def _request(kind: Kind, number: int, name: str, rate: float) -> SoakRequest:
    body = kind.body(number, kind.count(rate, REPEAT_SECONDS))
    expected = {name: kind.status[0]}
    if "urls" in body:
        expected = {f"{name}/{index}": status for index, status in enumerate(kind.status)}
    return SoakRequest(
        kind.name,
        json.dumps({"id": name, **body}).encode(),
        expected,
        kind.count(rate, OPEN_SECONDS) * len(expected),
    )
