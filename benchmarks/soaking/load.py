"""An endless mixed load: cached, new, failing and invalid requests."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.standin import short_code, video_id

HOT = 20
"""Videos that are requested all the time."""

RING = 120
"""Videos of a kind that repeat after their rows have expired: tables must not grow."""

PHOTOS = 50


@dataclass(frozen=True)
class SoakRequest:
    """A record for the requests topic.

    Attributes:
        kind: name of its kind, for the report.
        value: of the record.
        expected: status of each of its outcomes, by request id.
    """

    kind: str
    value: bytes
    expected: Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        name: for the report.
        weight: number of requests per round.
        status: of each outcome.
        body: builds the request from its number.
    """

    name: str
    weight: int
    status: tuple[str, ...]
    body: Callable[[int], dict[str, Any]]


def _page(video: str, form: str = "video") -> str:
    return f"https://www.tiktok.com/@_/{form}/{video}"


def _small(serial: int) -> str:
    return video_id("kilobytes", param=64, serial=serial)


def _known_page(number: int) -> dict[str, Any]:
    return {"url": _page(_small(number % HOT)), "action": "info"}


def _known_file(number: int) -> dict[str, Any]:
    return {"url": _page(_small(number % HOT))}


def _new_file(number: int) -> dict[str, Any]:
    return {"url": _page(_small(HOT + number % RING))}


def _large_file(number: int) -> dict[str, Any]:
    return {"url": _page(video_id("size", param=1, serial=number % RING))}


def _refreshed(number: int) -> dict[str, Any]:
    return {**_known_file(number), "options": {"refresh": True}}


def _photos(number: int) -> dict[str, Any]:
    return {"url": _page(video_id("photo", param=3, serial=number % PHOTOS), "photo")}


def _short_link(number: int) -> dict[str, Any]:
    return {"url": f"https://vm.tiktok.com/{short_code(_small(number % HOT))}/"}


def _dead_link(number: int) -> dict[str, Any]:
    return {"url": f"https://vm.tiktok.com/{short_code(_small(number % HOT), 'dead')}/"}


def _batch(number: int) -> dict[str, Any]:
    known, gone = _small(number % HOT), video_id("deleted", serial=number % RING)
    return {"urls": [_page(known), _page(gone), "https://www.tiktok.com/not/a/video"]}


def _gone(number: int) -> dict[str, Any]:
    scenario = ("deleted", "private", "page.404", "noformats")[number % 4]
    return {"url": _page(video_id(scenario, serial=number % RING))}


def _late_page(number: int) -> dict[str, Any]:
    return {"url": _page(video_id("page.503", times=1, serial=number)), "action": "info"}


def _late_file(number: int) -> dict[str, Any]:
    video = video_id("media.503", times=1, serial=number)
    return {"url": _page(video), "options": {"quality": "worst"}}


def _no_request(number: int) -> dict[str, Any]:
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


def mixed_load(run: str) -> Iterator[SoakRequest]:
    """Yield requests endlessly; each kind is spread over a round.

    Args:
        run: prefix of the ids, so that those of two runs differ.
    """
    round_of = sorted(
        ((place + 0.5) / kind.weight, order)
        for order, kind in enumerate(KINDS)
        for place in range(kind.weight)
    )
    numbers = [itertools.count(1) for _ in KINDS]
    for total in itertools.count(1):
        _, order = round_of[total % len(round_of)]
        yield _request(KINDS[order], next(numbers[order]), f"{run}-{total}")


def _request(kind: Kind, number: int, name: str) -> SoakRequest:
    value = json.dumps({"id": name, **kind.body(number)}).encode()
    if len(kind.status) == 1:
        return SoakRequest(kind.name, value, {name: kind.status[0]})
    members = {f"{name}/{index}": status for index, status in enumerate(kind.status)}
    return SoakRequest(kind.name, value, members)
