"""The HTTP side of a process: ``/health/live``, ``/health/ready`` and ``/metrics``."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.health import Health
from streams.metrics import REGISTRY
from streams.settings import HIGHEST_PORT

log = logging.getLogger(__name__)


class AddressError(Exception):
    """The HTTP address cannot be used; the text says why."""


def build_web(health: Health) -> web.Application:
    """Return the web application."""

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        problems = health.problems()
        degraded = health.degraded()
        status = "waiting" if problems else "degraded" if degraded else "ready"
        body = {
            "status": status,
            "problems": problems,
            "degraded": degraded,
            "warnings": health.warnings(),
        }
        return web.json_response(body, status=503 if problems else 200)

    async def metrics(_request: web.Request) -> web.Response:
        page = await asyncio.to_thread(generate_latest, REGISTRY)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/health/live", live)
    application.router.add_get("/health/ready", ready)
    application.router.add_get("/metrics", metrics)
    return application


@asynccontextmanager
async def serve(address: str, health: Health, *, or_free_port: bool = False) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the URL. Port 0 takes a free port.

    Args:
        address: HOST:PORT.
        health: what ``/health/ready`` answers with.
        or_free_port: when the port is taken, serve on a free one of the same host and log which.

    Raises:
        AddressError: the address is malformed, or it cannot be listened on.
    """
    host, port = _host_and_port(address)
    runner = web.AppRunner(build_web(health), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if not (or_free_port and error.errno == errno.EADDRINUSE):
                raise _cannot_listen(address, error) from None
            await _serve_on_a_free_port(runner, host, address)
        yield f"http://{address.rpartition(':')[0]}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    # uvloop would take a port above the highest one modulo 65,536.
    if not host or not port.isdecimal() or int(port[:6]) > HIGHEST_PORT:
        raise AddressError(f"{address!r} is not HOST:PORT; set `http`, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


async def _serve_on_a_free_port(runner: web.AppRunner, host: str, taken: str) -> None:
    try:
        await web.TCPSite(runner, host, 0).start()
    except OSError as error:
        raise _cannot_listen(taken, error) from None
    log.warning(
        "the default HTTP address %s is taken; health and metrics are on port %d, "
        "name another one with --http HOST:PORT",
        taken,
        runner.addresses[0][1],
    )


def _cannot_listen(address: str, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {address}: {error}; choose another one with --http HOST:PORT"
    )
