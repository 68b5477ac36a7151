"""Scripted media responses: a site of one function behind the stand-in's proxy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents.network.egress import Egress
from tests.standin.certificates import load_authority, server_context
from tests.standin.connections import Listener
from tests.standin.counters import Counters
from tests.standin.proxy import Proxy
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request

Answers = Callable[[Request], Reply]


@dataclass
class ScriptedSite:
    """Answers every request with a function, and records the requests.

    Attributes:
        answers: The function.
        requests: Received requests, in order.
        dialled: Targets of the tunnels that the proxy was asked for, in order.
    """

    answers: Answers
    requests: list[Request] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.answers(request)


class _RecordingProxy(Proxy):
    """Records the targets of tunnels."""

    async def _connect(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert isinstance(self.site, ScriptedSite)
        self.site.dialled.append(request.target)
        await super()._connect(request, reader, writer)


@contextlib.asynccontextmanager
async def scripted_site(
    state_dir: Path, answers: Answers
) -> AsyncIterator[tuple[ScriptedSite, Egress]]:
    """Serve the site for all of TikTok's host names; yield it with an egress to it."""
    authority, ca_file = load_authority(state_dir)
    site = ScriptedSite(answers)
    proxy = _RecordingProxy(site, server_context(authority), Switches(), Counters())  # type: ignore[arg-type]
    listener = Listener(proxy.handle)
    await listener.start(0)
    try:
        yield site, Egress(proxy=listener.url, ca_file=ca_file)
    finally:
        await listener.close()
