"""The CONNECT proxy, which terminates TLS and serves the site."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tests.standin.counters import Counters
from tests.standin.delivery import WRITE_BUFFER_BYTES, deliver, reset, until_hangup
from tests.standin.scenarios import ORDINARY
from tests.standin.short_links import redirect
from tests.standin.site import Site, is_standin_host
from tests.standin.switches import Switches
from tests.standin.wire import BadRequestError, Reply, Request, read_body, read_request, text_reply

HTTPS_PORT = "443"
HANDSHAKE_SECONDS = 10.0
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True)
class Proxy:
    """Handles the connections of the proxy's port.

    Attributes:
        site: Answers the requests of a tunnel.
        context: Server TLS of the tunnels.
        switches: For the surface ``connect``.
        counters: Of connections.
        egress: Name of this proxy.
    """

    site: Site
    context: ssl.SSLContext
    switches: Switches
    counters: Counters
    egress: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client connection.

        Raises:
            OSError: The client disconnected.
        """
        try:
            request = await read_request(reader)
            if request is not None and request.method == "CONNECT":
                await self._connect(request, reader, writer)
            elif request is not None:
                await _close_with(self._plain(request), reader, writer)
        except BadRequestError as error:
            await _close_with(text_reply(400, str(error)), reader, writer)

    async def _connect(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = request.target.rpartition(":")
        if not is_standin_host(host.lower()) or port != HTTPS_PORT:
            await _close_with(self._refused(request.target), reader, writer)
            return
        case = self.switches.use("connect", host.lower(), egress=self.egress)
        if case.scenario.name == "connect.502":
            await _close_with(text_reply(502, "cannot resolve the host"), reader, writer)
        elif case.scenario.name == "connect.hang":
            await until_hangup(reader)
        else:
            writer.write(_ESTABLISHED)
            broken = case is not ORDINARY or host.startswith("tls-reset.")
            await (reset_tls(reader, writer) if broken else self.tunnel(host, reader, writer))

    async def tunnel(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve the requests of a tunnel to a host of the site.

        Raises:
            OSError: The client disconnected.
        """
        try:
            await writer.start_tls(self.context, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except (OSError, EOFError):
            self.counters.failed_handshakes += 1
            raise
        self.counters.connections += 1
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        while request := await read_request(reader, host.lower()):
            body = await read_body(reader, request) if request.method == "POST" else b""
            routed = replace(request, egress=self.egress, body=body)
            if not await self._served(routed, reader, writer):
                return

    async def _served(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        reply = self.site.answer(request)
        is_media = reply.kind == "media" and request.method == "GET"
        with self.counters.media_stream() if is_media else contextlib.nullcontext():
            keep_alive = await deliver(reply, reader, writer, head_only=request.method == "HEAD")
        return keep_alive and request.headers.get("connection", "").lower() != "close"

    def _plain(self, request: Request) -> Reply:
        """Redirect plain HTTP requests of the site to https; refuse other hosts."""
        target = urlsplit(request.target)
        if target.scheme == "http" and is_standin_host(target.hostname or ""):
            return redirect(target._replace(scheme="https").geturl())
        return self._refused(target.netloc or request.host)

    def _refused(self, host: str) -> Reply:
        self.counters.refused_hosts[host] += 1
        self.counters.count("refused", "", 403, self.egress)
        return text_reply(403, "only TikTok is reachable here")


async def reset_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset a connection during the TLS handshake."""
    # After the ClientHello: an earlier reset would look like a broken proxy.
    await reader.read(1)
    await reset(writer)


async def _close_with(
    reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await deliver(replace(reply, sized=False), reader, writer, head_only=False)
