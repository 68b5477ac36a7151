"""The web application of the console, and its middleware."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from streams.console.access import (
    LOGIN_PATHS,
    RULES,
    SESSION_COOKIE,
    USER,
    AccessRules,
    HttpCall,
    is_loopback,
)
from streams.console.errors import CallError, as_call_error
from streams.console.handlers import add_handlers
from streams.console.http_messages import complete, json_response
from streams.console.rendering import RENDERER, Renderer, redirect, render
from streams.console.routes import ROOT, RouteHandler
from streams.console.services import SERVICES, Services
from streams.errors import OperatorError
from streams.observability.http_server import host_and_port

STATIC = Path(__file__).with_name("static")

BODY_BYTES_MAX = 16 * 2**20
"""A file of some 200,000 links."""

LINE_BYTES_MAX = 64 * 2**10
"""The longest parameter takes 48 KB: 4,096 characters of four octets, each written as %XX."""

LINGERING_SECONDS = 1.0
"""Time for which the rest of a rejected body is still read, so that its caller reads the answer."""


class ConsoleAddressError(OperatorError):
    """The console may not listen on the address; the text says why."""


def build_console(services: Services) -> web.Application:
    """Return the application."""
    settings = services.settings.console
    application = web.Application(middlewares=[_guard], client_max_size=BODY_BYTES_MAX)
    application[SERVICES] = services
    application[RULES] = rules = AccessRules.of(settings)
    application[RENDERER] = renderer = Renderer(
        read_only=settings.read_only, has_login=bool(rules.tokens)
    )

    async def compile_templates(_application: web.Application) -> None:
        renderer.compile_all()

    application.on_startup.append(compile_templates)
    add_handlers(application, services)
    application.router.add_static("/static", STATIC)
    return application


@web.middleware
async def _guard(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    response = await _respond(request, handler)
    if not response.prepared:
        complete(request, response, is_static=_is_static(request))
    return response


def _is_static(request: web.Request) -> bool:
    return request.path.startswith("/static/")


async def _respond(request: web.Request, handler: RouteHandler) -> web.StreamResponse:
    """Return the response of a handler, or that to its error: JSON for the API, or a page."""
    allowed: set[str] = set()
    try:
        _authorize(request)
        return await handler(request)
    except web.HTTPException as refused:
        error = _as_call_error(request, refused)
        if isinstance(refused, web.HTTPMethodNotAllowed):
            allowed = refused.allowed_methods
    except Exception as failure:
        found = as_call_error(failure)
        if found is None:
            raise
        error = found
    response = _error_response(request, error)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _error_response(request: web.Request, error: CallError) -> web.Response:
    if request.path.startswith(ROOT):
        body = {"error": {"field": error.field, "message": str(error)}}
        return json_response(body, error.status)
    if error.status == web.HTTPUnauthorized.status_code:
        return redirect("login")
    return render(request, "error.html", error.status, message=str(error))


def _as_call_error(request: web.Request, refused: web.HTTPException) -> CallError:
    if isinstance(refused, web.HTTPRequestEntityTooLarge):
        return CallError(refused.status, "body", refused.text or "the body is too large")
    return CallError(refused.status, "path", f"{request.path[:200]}: {refused.reason}")


def _authorize(request: web.Request) -> None:
    """Reject a request that the rules deny; store its user as ``request[USER]``."""
    rules = request.app[RULES]
    call = HttpCall(
        method=request.method,
        headers=request.headers,
        peer=request.remote or "",
        session=request.cookies.get(SESSION_COOKIE),
    )
    if not (rules.authenticates and (request.path in LOGIN_PATHS or _is_static(request))):
        request[USER] = rules.authenticate(call, time.time())
    if request.path in LOGIN_PATHS:
        rules.check_origin(call)
    else:
        rules.check_change(call)
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise CallError(413, "body", f"the body is larger than {BODY_BYTES_MAX} bytes")


@asynccontextmanager
async def serve_console(address: str, services: Services) -> AsyncIterator[str]:
    """Serve the console while the context lasts; yields its URL. Port 0 selects a free port.

    Raises:
        ConsoleAddressError: not a loopback address, and no caller would have to authenticate.
        AddressError: the address is malformed.
    """
    host, port = host_and_port(address)
    if not (is_loopback(host) or AccessRules.of(services.settings.console).authenticates):
        raise ConsoleAddressError(
            f"{address} is reached from other hosts; set console.token, or console.user_header "
            "and console.proxies, or listen on loopback, such as 127.0.0.1:8090"
        )
    runner = web.AppRunner(
        build_console(services),
        access_log=None,
        lingering_time=LINGERING_SECONDS,
        max_line_size=LINE_BYTES_MAX,
    )
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
