"""A page that draws the boards from Prometheus in a browser, for boxes without Grafana."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from deploy.grafana.board_list import BOARDS

HERE = Path(__file__).with_name("preview")
BOARD_FILES = Path(__file__).resolve().parents[1] / "grafana" / "boards"
RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " connect-src 'self' {prometheus}; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
"""uPlot sets the sizes of its elements by style attributes."""


def build_page(prometheus: str, console: str) -> web.Application:
    """Return the application: the page, the boards as JSON, and the runbooks as text.

    Args:
        prometheus: its URL.
        console: the URL that the boards' links to the console begin with.
    """

    async def start(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(HERE / "index.html", headers=_headers(prometheus))

    async def show_places(_request: web.Request) -> web.StreamResponse:
        names = [f"clipmill-{board.name}" for board in BOARDS]
        places = {"prometheus": prometheus, "console": console, "boards": names}
        return web.json_response(places)

    application = web.Application()
    application.router.add_get("/", start)
    application.router.add_get("/places.json", show_places)
    application.router.add_static("/static", HERE)
    application.router.add_static("/boards", BOARD_FILES)
    application.router.add_static("/docs/runbooks", RUNBOOKS)
    return application


def _headers(prometheus: str) -> dict[str, str]:
    return {"Content-Security-Policy": POLICY.format(prometheus=prometheus)}


@asynccontextmanager
async def serving(prometheus: str, console: str, port: int) -> AsyncIterator[str]:
    """Serve the page on loopback; yields its URL."""
    runner = web.AppRunner(build_page(prometheus, console), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
