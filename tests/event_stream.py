"""A client of the event stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from aiohttp.test_utils import TestClient

EVENT_SECONDS = 30.0


class ReceivedEvent(NamedTuple):
    id: str
    name: str
    data: Any

    @property
    def states(self) -> dict[str, str]:
        """The states of its requests by id."""
        return {each["id"]: each["state"] for each in self.data["requests"]}


class EventStream:
    """The events of a response, and the id of the last one.

    Attributes:
        last_id: what a browser repeats as ``Last-Event-ID``, also when a stream breaks off before
            its first event.
    """

    def __init__(self, response: aiohttp.ClientResponse, last_id: str) -> None:
        self.response = response
        self.last_id = last_id

    async def next(self, *names: str) -> ReceivedEvent:
        """Return the next event, of these names."""
        async with asyncio.timeout(EVENT_SECONDS):
            while True:
                event = await self._read()
                if event.name and (not names or event.name in names):
                    return event

    async def _read(self) -> ReceivedEvent:
        fields: dict[str, str] = {}
        while line := (await self._line()).strip():
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        self.last_id = fields.get("id", self.last_id)
        data = json.loads(fields.get("data", "null"))
        return ReceivedEvent(self.last_id, fields.get("event", ""), data)

    async def _line(self) -> str:
        line = await self.response.content.readline()
        if not line:
            raise EOFError
        return line.decode()


@asynccontextmanager
async def opened(
    client: TestClient[Any, Any] | aiohttp.ClientSession, last_id: str = "", **parameters: str
) -> AsyncIterator[EventStream]:
    """Open a stream; it has joined when this returns."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    path = "/api/v1/events"
    async with client.get(path, params=parameters, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield EventStream(response, last_id)
