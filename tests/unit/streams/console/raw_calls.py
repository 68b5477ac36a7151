"""HTTP calls byte by byte: what no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from streams.console.jobs.store import JobStore
from streams.console.server import serve_console
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore
from tests.unit.streams.console.consoles import CHANGES, RecordingProducer, services

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """The answer to a call; status 0: the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    body: str


def call(
    target: str | bytes = "/",
    method: str = "GET",
    body: bytes = b"",
    **headers: str | bytes | None,
) -> bytes:
    """Return a call; a header None is left out, ``_`` in a name is ``-``."""
    given: dict[str, str | bytes | None] = {"Host": "127.0.0.1", "Connection": "close"}
    if body:
        given["Content-Length"] = str(len(body))
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    path = target.encode() if isinstance(target, str) else target
    lines = [b"%s %s HTTP/1.1" % (method.encode(), path)]
    for name, value in given.items():
        if value is not None:
            lines.append(b"%s: %s" % (name.encode(), _octets(value)))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


@dataclass(frozen=True)
class RawConsole:
    """A console served on a socket, and what it has published."""

    url: URL
    producer: RecordingProducer

    async def answer(self, sent: bytes, *, cut: bool = False) -> Answer:
        """Send a call and read the answer; ``cut``: close the sending side first."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.url.port)
        try:
            writer.write(sent)
            if cut:
                writer.write_eof()
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = _parse(head)
                length = int(answer.headers.get("Content-Length", "0"))
                body = await reader.readexactly(length)
                return replace(answer, body=body.decode(errors="replace"))
        except (ConnectionResetError, asyncio.IncompleteReadError):
            return Answer(0, {}, "")
        finally:
            writer.close()


def _parse(head: bytes) -> Answer:
    first, *lines = head.decode(errors="replace").removesuffix("\r\n\r\n").split("\r\n")
    headers = CIMultiDict(
        (name, value) for name, _, value in (line.partition(": ") for line in lines)
    )
    return Answer(int(first.split(" ")[1]), headers, "")


@asynccontextmanager
async def raw_console(directory: Path, **console: Any) -> AsyncIterator[RawConsole]:
    """Serve `CHANGES` with these settings of the console."""
    with (
        HistoryStore(directory / "history.db") as store,
        JobStore(directory / "console.db") as jobs,
    ):
        records = [FoldedRecord(0, offset, each) for offset, each in enumerate(CHANGES)]
        store.apply("audit", records, {}, store.open_generation("cluster"))
        found = services(store, jobs, **console)
        assert isinstance(found.producer, RecordingProducer)
        async with serve_console("127.0.0.1:0", found) as url:
            yield RawConsole(URL(url), found.producer)
