"""The web application of the console, and its checks of every request."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from streams.console.api import ROOT, Api, error_response
from streams.console.pages import Pages
from streams.console.queries import QueryError
from streams.errors import OperatorError
from streams.history.store import HistoryError, HistoryStore
from streams.observability.http_server import host_and_port

STATIC = Path(__file__).with_name("static")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ConsoleAddressError(OperatorError):
    """The console may not listen on the address; the text says why."""


def build_console(store: HistoryStore) -> web.Application:
    """Return the application."""
    pages = Pages(store)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _respond(request, handler, pages)
        response.headers.update(HEADERS)
        return response

    application = web.Application(middlewares=[check])
    Api(store).add_routes(application.router)
    pages.add_routes(application.router)
    application.router.add_static("/static", STATIC)
    return application


async def _respond(request: web.Request, handler: Handler, pages: Pages) -> web.StreamResponse:
    def error(status: int, field: str, message: str) -> web.Response:
        if request.path.startswith(ROOT):
            return error_response(status, field, message)
        return pages.error(status, message)

    if not _is_loopback(_host_of(request.host)):
        # The name of another host that resolves to this address (DNS rebinding).
        host = f"the console answers to loopback names only, not to {request.host[:100]!r}"
        return error(403, "Host", host)
    try:
        return await handler(request)
    except QueryError as unusable:
        return error(400, unusable.field, str(unusable))
    except HistoryError as unreadable:
        return error(503, "history", str(unreadable))
    except web.HTTPException as refused:
        return error(refused.status, "path", f"{request.path[:200]}: {refused.reason}")


def _is_loopback(host: str | None) -> bool:
    """Return whether a host, without its port, is a loopback name or address."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _host_of(header: str) -> str | None:
    """Return the name in a ``Host`` header, in lower case; None for a malformed one."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


@asynccontextmanager
async def serve_console(address: str, store: HistoryStore) -> AsyncIterator[str]:
    """Serve the console while the context lasts; yields its URL. Port 0 selects a free port.

    Raises:
        ConsoleAddressError: the address is not a loopback one: the console has no login.
        AddressError: the address is malformed.
    """
    host, port = host_and_port(address)
    if not _is_loopback(host):
        raise ConsoleAddressError(
            f"{address}: the console has no login and listens on loopback only, such as "
            "127.0.0.1:8090; publish it through a proxy that authenticates"
        )
    runner = web.AppRunner(build_console(store), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConsoleAddressError(
                f"cannot listen on {address}: {error}; choose another address with --http HOST:PORT"
            ) from None
        yield f"http://{address.rpartition(':')[0]}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
