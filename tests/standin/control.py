"""Control endpoint: the switches and counters over HTTP on loopback, for other processes.

``GET /counters``, ``GET /scenarios``, ``GET /media?video=ID&format=F[&scenario=S&param=N]`` (size
and sha256), ``POST /switches`` with the arguments of `Switches.set`, ``DELETE
/switches[?video=ID][&egress=NAME]``, ``POST /pace`` with ``latency_seconds`` and
``media_bytes_per_second``, ``POST /rate`` with ``per_second`` and ``retry_after_seconds`` and
``GET /rate`` (counts since then), ``POST /reset``.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from tests.standin.counters import Counters
from tests.standin.delivery import deliver
from tests.standin.media import expected_media
from tests.standin.scenarios import SCENARIOS
from tests.standin.switches import Switches
from tests.standin.wire import (
    BadRequestError,
    Reply,
    Request,
    read_body,
    read_request,
    text_reply,
    whole,
)


class SetSwitch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /switches``; without ``for_seconds`` it applies until cleared."""

    scenario: str
    param: int = 0
    times: int = 0
    video: str = ""
    egress: str = ""
    for_seconds: float | None = None


class SetPace(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /pace``."""

    latency_seconds: float = 0.0
    media_bytes_per_second: float | None = None


class SetRate(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /rate``; without ``per_second`` there is no limit."""

    per_second: int | None = None
    retry_after_seconds: int = 0


class Control:
    """Handles the connections of the control port.

    Args:
        switches: Set by requests.
        counters: Read by requests.
    """

    def __init__(self, switches: Switches, counters: Counters) -> None:
        self._switches = switches
        self._counters = counters
        self._routes: dict[tuple[str, str], Callable[[Request, bytes], Any]] = {
            ("GET", "/counters"): lambda *_: counters.as_json(),
            ("GET", "/scenarios"): lambda *_: [dataclasses.asdict(row) for row in SCENARIOS],
            ("GET", "/media"): _media,
            ("POST", "/switches"): self._set,
            ("DELETE", "/switches"): self._clear,
            ("POST", "/pace"): self._pace,
            ("GET", "/rate"): lambda *_: switches.rate_limit.as_json(),
            ("POST", "/rate"): self._rate,
            ("POST", "/reset"): self._reset,
        }

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client connection.

        Raises:
            OSError: The client disconnected.
        """
        while True:
            try:
                request = await read_request(reader)
                if request is None:
                    return
                reply = self._answer(request, await read_body(reader, request))
            except BadRequestError as error:
                await deliver(text_reply(400, str(error)), reader, writer, head_only=False)
                return
            await deliver(reply, reader, writer, head_only=False)

    def _answer(self, request: Request, body: bytes) -> Reply:
        route = self._routes.get((request.method, request.path))
        if route is None:
            return text_reply(404, f"no route {request.method} {request.path}")
        try:
            answer = msgspec.json.encode(route(request, body))
        except (ValueError, KeyError) as error:
            return text_reply(400, str(error))
        return Reply(200, whole(answer), (("Content-Type", "application/json"),))

    def _set(self, _: Request, body: bytes) -> dict[str, str]:
        wanted = msgspec.json.decode(body, type=SetSwitch)
        self._switches.set(
            wanted.scenario,
            param=wanted.param,
            times=wanted.times,
            video=wanted.video,
            egress=wanted.egress,
            for_seconds=float("inf") if wanted.for_seconds is None else wanted.for_seconds,
        )
        return {"set": wanted.scenario}

    def _clear(self, request: Request, _: bytes) -> dict[str, str]:
        video, egress = request.query.get("video"), request.query.get("egress")
        self._switches.clear(video, egress)
        return {"cleared": " ".join(filter(None, (video, egress))) or "all"}

    def _pace(self, _: Request, body: bytes) -> dict[str, float | None]:
        pace = msgspec.json.decode(body, type=SetPace)
        self._switches.latency_seconds = pace.latency_seconds
        self._switches.media_bytes_per_second = pace.media_bytes_per_second
        return msgspec.structs.asdict(pace)

    def _rate(self, _: Request, body: bytes) -> dict[str, int | None]:
        rate = msgspec.json.decode(body, type=SetRate)
        self._switches.rate_limit.set(rate.per_second, rate.retry_after_seconds)
        return msgspec.structs.asdict(rate)

    def _reset(self, *_: Any) -> dict[str, bool]:
        self._switches.reset()
        self._counters.reset()
        return {"reset": True}


def _media(request: Request, _: bytes) -> dict[str, Any]:
    query = request.query
    wanted = expected_media(
        query["video"],
        query["format"],
        scenario=query.get("scenario"),
        param=int(query.get("param", "0")),
    )
    return dataclasses.asdict(wanted)
