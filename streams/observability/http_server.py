"""HTTP endpoints of a process: ``/health/live``, ``/health/ready`` and ``/metrics``."""

import asyncio
import errno
import gzip
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from streams.errors import OperatorError
from streams.observability.health import Health
from streams.observability.metrics import REGISTRY
from streams.settings import HIGHEST_PORT

log = logging.getLogger(__name__)

_WEIGHT_0 = re.compile(r"\s*q=0(\.0*)?\s*")

GZIP_LEVEL = 1
"""Compresses a page to a twelfth; level 9 takes three times the CPU for a fourteenth."""


class AddressError(OperatorError):
    """The HTTP address cannot be used; the text says why."""


def build_app(health: Health) -> web.Application:
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

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        page = await asyncio.to_thread(encode, REGISTRY)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            page = await asyncio.to_thread(gzip.compress, page, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=page, headers=headers)

    application = web.Application()
    application.router.add_get("/health/live", live)
    application.router.add_get("/health/ready", ready)
    application.router.add_get("/metrics", metrics)
    return application


@asynccontextmanager
async def serve(address: str, health: Health, *, or_free_port: bool = False) -> AsyncIterator[str]:
    """Serve while the context lasts; yields the URL. Port 0 selects a free port.

    Args:
        address: HOST:PORT.
        health: source of ``/health/ready``.
        or_free_port: when the port is in use, fall back to a free one of the host and log it.

    Raises:
        AddressError: the address is malformed, or binding it fails.
    """
    host, port = host_and_port(address)
    runner = web.AppRunner(build_app(health), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if not (or_free_port and error.errno == errno.EADDRINUSE):
                raise _cannot_listen(address, error) from None
            await _serve_on_free_port(runner, host, address)
        yield f"http://{address.rpartition(':')[0]}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Negotiate the exposition format: OpenMetrics with exemplars, or plain text."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # The library compares the parts of a version without validating them.
        return choose_encoder("")


def _accepts_gzip(accepted: str) -> bool:
    """Return whether an ``Accept-Encoding`` names gzip with a weight above 0."""
    codings = (each.partition(";") for each in accepted.lower().split(","))
    return any(
        coding.strip() == "gzip" and not _WEIGHT_0.fullmatch(parameters)
        for coding, _, parameters in codings
    )


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    # uvloop truncates a larger port modulo 65,536 without an error.
    if not host or not port.isdecimal() or int(port[:6]) > HIGHEST_PORT:
        raise AddressError(f"{address!r} is not HOST:PORT; set `http`, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


async def _serve_on_free_port(runner: web.AppRunner, host: str, taken: str) -> None:
    try:
        await web.TCPSite(runner, host, 0).start()
    except OSError as error:
        raise _cannot_listen(taken, error) from None
    log.warning(
        "the default HTTP address %s is in use; health and metrics are on port %d, "
        "set another one with --http HOST:PORT",
        taken,
        runner.addresses[0][1],
    )


def _cannot_listen(address: str, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {address}: {error}; choose another one with --http HOST:PORT"
    )
