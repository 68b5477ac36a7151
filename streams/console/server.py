"""The web application of the console, and its middleware."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from streams.console.access import USER, AccessRules, HttpCall, is_loopback
from streams.console.api.deadletters import DeadLetterApi
from streams.console.api.documents import DocumentApi
from streams.console.api.events import EventApi
from streams.console.api.health import HealthApi
from streams.console.api.jobs import JobApi
from streams.console.api.library import LibraryApi
from streams.console.api.orders import OrderApi
from streams.console.api.requests import RequestApi
from streams.console.api.responses import ROOT, error_response
from streams.console.api.settings import SettingsApi
from streams.console.api.signals import SignalApi
from streams.console.api.topics import TopicApi
from streams.console.api.workers import WorkerApi
from streams.console.errors import CallError, as_call_error
from streams.console.headers import complete
from streams.console.health.facts import FactsReader
from streams.console.pages.breakers import BreakerPages
from streams.console.pages.caches import CachePages
from streams.console.pages.deadletters import DeadLetterPages
from streams.console.pages.error_codes import ErrorCodePages
from streams.console.pages.failures import FailurePages
from streams.console.pages.files import FilePages
from streams.console.pages.jobs import JobPages
from streams.console.pages.library import LibraryPages
from streams.console.pages.login import PATHS, SESSION_COOKIE, LoginPages
from streams.console.pages.orders import OrderPages
from streams.console.pages.overview import OverviewPages
from streams.console.pages.pipeline import PipelinePages
from streams.console.pages.reference import ReferencePages
from streams.console.pages.rendering import Renderer, redirect
from streams.console.pages.replay import ReplayPages
from streams.console.pages.request import RequestPage
from streams.console.pages.requests import RequestPages
from streams.console.pages.search import SearchPages
from streams.console.pages.settings import SettingsPages
from streams.console.pages.submit import SubmitPages
from streams.console.services import Services
from streams.errors import OperatorError
from streams.observability.http_server import host_and_port
from streams.settings.effective import effective_settings

STATIC = Path(__file__).with_name("static")

BODY_BYTES_MAX = 16 * 2**20
"""A file of some 200,000 links."""

LINE_BYTES_MAX = 64 * 2**10
"""The longest parameter takes 48 KB: 4,096 characters of four octets, each written as %XX."""

LINGERING_SECONDS = 1.0
"""Time for which the rest of a rejected body is still read, so that its caller reads the answer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ConsoleAddressError(OperatorError):
    """The console may not listen on the address; the text says why."""


def build_console(services: Services) -> web.Application:
    """Return the application."""
    settings = services.settings.console
    rules = AccessRules.of(settings)
    renderer = Renderer(read_only=settings.read_only, has_login=bool(rules.tokens))

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _respond(request, handler, rules, renderer)
        if not response.prepared:
            complete(request, response, is_cached=_is_static(request))
        return response

    async def compile_templates(_application: web.Application) -> None:
        renderer.compile_all()

    application = web.Application(middlewares=[guard], client_max_size=BODY_BYTES_MAX)
    router = application.router
    events = EventApi(services)
    facts = FactsReader(services)
    # At the start: the file may have changed since, its values in use have not.
    settings_in_use = effective_settings(services.settings)
    application.on_startup.append(compile_templates)
    application.on_shutdown.append(events.close)
    for module in (
        RequestApi(services),
        JobApi(services),
        OrderApi(services),
        events,
        DeadLetterApi(services),
        SignalApi(services),
        LibraryApi(services),
        TopicApi(services),
        WorkerApi(services),
        SettingsApi(settings_in_use),
        HealthApi(services, facts),
        DocumentApi(),
        OverviewPages(facts, renderer),
        BreakerPages(services, renderer),
        CachePages(services, renderer),
        FailurePages(services, renderer),
        RequestPages(services, renderer),
        SearchPages(services),
        RequestPage(services, renderer),
        SubmitPages(services, renderer),
        JobPages(services, renderer),
        OrderPages(services, renderer),
        DeadLetterPages(services, renderer),
        ReplayPages(services, renderer),
        LibraryPages(services, renderer),
        PipelinePages(services, renderer),
        FilePages(services),
        SettingsPages(settings_in_use, renderer),
        ErrorCodePages(renderer),
        ReferencePages(renderer),
        LoginPages(rules, renderer),
    ):
        module.add_routes(router)
    router.add_static("/static", STATIC)
    return application


def _is_static(request: web.Request) -> bool:
    return request.path.startswith("/static/")


async def _respond(
    request: web.Request, handler: Handler, rules: AccessRules, renderer: Renderer
) -> web.StreamResponse:
    """Return the response of a handler, or that to its error: JSON for the API, or a page."""
    allowed: set[str] = set()
    try:
        _authorize(request, rules)
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
    response = _error_response(request, error, renderer)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _error_response(request: web.Request, error: CallError, renderer: Renderer) -> web.Response:
    if request.path.startswith(ROOT):
        return error_response(error.status, error.field, str(error))
    if error.status == web.HTTPUnauthorized.status_code:
        return redirect("login")
    return renderer.error(error.status, str(error))


def _as_call_error(request: web.Request, refused: web.HTTPException) -> CallError:
    if isinstance(refused, web.HTTPRequestEntityTooLarge):
        return CallError(refused.status, "body", refused.text or "the body is too large")
    return CallError(refused.status, "path", f"{request.path[:200]}: {refused.reason}")


def _authorize(request: web.Request, rules: AccessRules) -> None:
    """Reject a request that the rules deny; store its user as ``request[USER]``."""
    call = HttpCall(
        method=request.method,
        headers=request.headers,
        peer=request.remote or "",
        session=request.cookies.get(SESSION_COOKIE),
    )
    if not (rules.authenticates and (request.path in PATHS or _is_static(request))):
        request[USER] = rules.authenticate(call, time.time())
    if request.path in PATHS:
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
