"""The handlers of the console: a module for each subject, with its pages and its API.

Pages are rendered on the server; they need no JavaScript. All links are relative, so the console
works under any path of a reverse proxy. A form is posted to a path without a slash in it, because
an error page is shown there.
"""

import asyncio

from aiohttp import web

from streams.console.feed import ChangeFeed
from streams.console.handlers import (
    breakers,
    caches,
    dead_letters,
    events,
    failures,
    files,
    jobs,
    library,
    login,
    orders,
    overview,
    pipeline,
    reference,
    replay,
    request,
    request_commands,
    requests,
    settings,
    submission,
)
from streams.console.health.facts import FactsReader
from streams.console.routes import RouteOperation, Routes
from streams.console.services import Services
from streams.settings.effective import effective_settings

ALL_ROUTES: tuple[Routes, ...] = (
    requests.ROUTES,
    submission.ROUTES,
    request_commands.ROUTES,
    request.ROUTES,
    jobs.ROUTES,
    orders.ROUTES,
    events.ROUTES,
    dead_letters.ROUTES,
    replay.ROUTES,
    breakers.ROUTES,
    library.ROUTES,
    files.ROUTES,
    pipeline.ROUTES,
    caches.ROUTES,
    settings.ROUTES,
    overview.ROUTES,
    failures.ROUTES,
    reference.ROUTES,
    login.ROUTES,
)

OPERATIONS: tuple[RouteOperation, ...] = tuple(
    operation for routes in ALL_ROUTES for operation in routes.operations
)
"""The operations of the API, in the order of its documents."""


def add_handlers(application: web.Application, services: Services) -> None:
    """Add all routes, and what single handlers share among their calls."""
    application[events.FEED] = feed = ChangeFeed(services.store, services.progress)
    application[overview.FACTS] = FactsReader(services)
    application[settings.SETTINGS] = effective_settings(services.settings)
    application[reference.DOCUMENT] = reference.ApiDocument(OPERATIONS)
    application[login.REJECTING] = asyncio.Lock()

    async def end_streams(_application: web.Application) -> None:
        await feed.close()

    # The server waits for them when it stops.
    application.on_shutdown.append(end_streams)
    for routes in ALL_ROUTES:
        application.add_routes(routes)
