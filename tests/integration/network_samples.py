"""Every failure of an HTTP request, provoked on loopback with the real aiohttp.

``python -m tests.integration.network_samples`` records `SAMPLES` again: after an update of aiohttp,
or with a new row in the table. The diff shows what the update changed.
"""

import asyncio
import re
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser

from agents.network.egress import Egress
from agents.network.errors import LIBRARY_ERRORS, find_row, from_exception
from agents.network.session import open_session
from tests.integration.failure_samples import NO_NAME, SOCKS_REPLIES, closed_port
from tests.standin import Standin, video_id
from tests.standin.connections import Handler, Listener
from tests.standin.links import DOWNLOAD_HOST, Issue, media_url
from tests.standin.posts import post_for

SAMPLES = Path(__file__).parents[1] / "samples" / "network_failures.json"
TIMEOUT = aiohttp.ClientTimeout(total=2, sock_connect=1, sock_read=0.3)
FAR_FUTURE = 4_000_000_000.0
PLAIN = "http://v16.tiktokcdn.com/"
SECURE = "https://v16.tiktokcdn.com/"
NUMBERS = re.compile(r"\d+")


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An exception of a library, the matching row of the error table, and its error.

    Attributes:
        types: class of the exception, and of the OS error inside it.
        row: name of the row.
        code: error code.
        message: of the error; numbers are replaced by ``#``.
    """

    types: tuple[str, ...]
    row: str
    code: str
    message: str


FailureCase = Callable[[Standin], Awaitable[None]]


async def sample_of(provoke: FailureCase, standin: Standin) -> Sample:
    """Provoke a failure and return its sample."""
    try:
        await provoke(standin)
    except LIBRARY_ERRORS as error:
        converted = from_exception(error, "HOST")
        links = [error, *filter(None, [getattr(error, "os_error", None)])]
        return Sample(
            tuple(type(link).__name__ for link in links),
            find_row(error).name,
            converted.code,
            NUMBERS.sub("#", converted.message),
        )
    finally:
        standin.reset()
    raise AssertionError("it did not fail")


async def _get(egress: Egress, url: str) -> None:
    async with (
        open_session(egress) as session,
        session.get(url, timeout=TIMEOUT, allow_redirects=False) as response,
    ):
        await response.read()


def _egress_of(standin: Standin) -> Egress:
    return Egress(proxy=standin.proxy_url, ca_file=standin.ca_file)


def _media(scenario: str) -> str:
    post = post_for(video_id(scenario))
    return media_url(post, DOWNLOAD_HOST, "play", Issue(FAR_FUTURE))


async def _in_scenario(standin: Standin, scenario: str) -> None:
    standin.switches.set(scenario)
    await _get(_egress_of(standin), _media("ok"))


async def _socks(standin: Standin, scenario: str, param: int = 0, login: str = "") -> None:
    """Send a request through a SOCKS proxy in this scenario."""
    if scenario:
        standin.switches.set(scenario, param=param)
    url = standin.socks_url.replace("://", f"://{login}")
    await _get(Egress(proxy=url, ca_file=standin.ca_file), _media("ok"))


async def _through_proxy(handler: Handler, scheme: str = "http") -> None:
    """Send a request through a proxy with this connection handler."""
    listener = Listener(handler)
    await listener.start()
    try:
        await _get(Egress(proxy=listener.url.replace("http", scheme)), PLAIN)
    finally:
        await listener.close()


def _responding(text: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        # Wait until the client has read it and closes, so that the text causes the failure.
        await reader.read()

    return handler


async def _without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def _hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def _resolve() -> None:
    await asyncio.get_running_loop().getaddrinfo(NO_NAME, 443, type=socket.SOCK_STREAM)


async def _connect() -> None:
    await asyncio.open_connection("127.0.0.1", closed_port())


async def _parse() -> None:
    loop = asyncio.get_running_loop()
    HttpResponseParser(BaseProtocol(loop), loop, 1 << 16).feed_data(b"hello\r\n\r\n")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FAILURE_CASES: dict[str, FailureCase] = {
    "private address": lambda _: _get(Egress(), f"http://127.0.0.1:{closed_port()}/"),
    "untrusted": lambda standin: _get(Egress(proxy=standin.proxy_url), _media("ok")),
    "name": lambda _: _get(Egress(), f"https://{NO_NAME}/"),
    "name, by the system": lambda _: _resolve(),
    "name of the proxy": lambda _: _get(Egress(proxy=f"http://{NO_NAME}:1"), PLAIN),
    "silence": lambda standin: _get(_egress_of(standin), _media("media.hang")),
    "silence in the middle": lambda standin: _get(_egress_of(standin), _media("media.stall")),
    "silent proxy": lambda standin: _in_scenario(standin, "connect.hang"),
    "no proxy": lambda _: _get(Egress(proxy=f"http://127.0.0.1:{closed_port()}"), PLAIN),
    **{
        f"SOCKS reply {code}": lambda standin, code=code: _socks(standin, "socks.reply", code)  # type: ignore[misc]
        for code in SOCKS_REPLIES
    },
    "SOCKS without a method": lambda standin: _socks(standin, "socks.methods"),
    "SOCKS with a wrong login": lambda standin: _socks(standin, "", login="anna:wrong@"),
    "SOCKS hangs up": lambda standin: _socks(standin, "socks.close"),
    "SOCKS is HTTP": lambda standin: _socks(standin, "socks.http"),
    "SOCKS is silent": lambda standin: _socks(standin, "connect.hang"),
    "SOCKS, reset in the handshake": lambda standin: _socks(standin, "connect.tls"),
    "SOCKS, untrusted": lambda standin: _get(Egress(proxy=standin.socks_url), _media("ok")),
    "no SOCKS proxy": lambda _: _get(Egress(proxy=f"socks5h://127.0.0.1:{closed_port()}"), SECURE),
    "name of the SOCKS proxy": lambda _: _get(Egress(proxy=f"socks5h://{NO_NAME}:1"), SECURE),
    "a name that SOCKS cannot ask for": lambda standin: _get(
        Egress(proxy=standin.socks_url), f"https://{NO_NAME}/"
    ),
    "reset in the handshake": lambda standin: _in_scenario(standin, "connect.tls"),
    "no HTTP": lambda _: _through_proxy(_responding(b"hello\r\n\r\n")),
    "no TLS": lambda _: _through_proxy(_without_tls, scheme="https"),
    "no HTTP, by the parser": lambda _: _parse(),
    "no chunk": lambda _: _through_proxy(_responding(CHUNKED + b"zz\r\n")),
    "truncated": lambda standin: _get(_egress_of(standin), _media("media.truncated")),
    "reset in the middle": lambda standin: _get(_egress_of(standin), _media("media.reset")),
    "hung up": lambda _: _through_proxy(_hanging_up),
    "refused, by the system": lambda _: _connect(),
}


async def samples() -> dict[str, Sample]:
    """Provoke all failures."""
    with tempfile.TemporaryDirectory() as directory:
        async with Standin(Path(directory)) as standin:
            return {
                name: await sample_of(provoke, standin) for name, provoke in FAILURE_CASES.items()
            }


if __name__ == "__main__":
    recorded = msgspec.json.encode(asyncio.run(samples()))
    SAMPLES.write_bytes(msgspec.json.format(recorded, indent=2) + b"\n")
