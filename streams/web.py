"""The HTTP side of a process: ``/health/live``, ``/health/ready`` and ``/metrics``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.health import Health
from streams.metrics import REGISTRY
from streams.settings import HIGHEST_PORT


class AddressError(Exception):
    """The HTTP address cannot be used; the text says why."""


def build_web(health: Health) -> web.Application:
    """Return the web application."""

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        problems = health.problems()
        body = {"status": "waiting" if problems else "ready", "problems": problems}
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
async def serve(address: str, health: Health) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the URL. Port 0 takes a free port.

    Raises:
        AddressError: the address is malformed or taken.
    """
    host, _, port = address.rpartition(":")
    # uvloop would take a port above the highest one modulo 65,536.
    if not host or not port.isdecimal() or int(port[:6]) > HIGHEST_PORT:
        raise AddressError(f"{address!r} is not HOST:PORT; set `http`, such as 127.0.0.1:8080")
    runner = web.AppRunner(build_web(health), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            raise AddressError(
                f"cannot listen on {address}: {error}; choose another one with --http HOST:PORT"
            ) from None
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
