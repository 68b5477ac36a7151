"""The page that submits requests; also the target of a bookmarklet and of a phone's share menu."""

import asyncio
import re
import time
from typing import get_args

from aiohttp import web

from schemas.contract.descriptions import field_descriptions
from schemas.request import Action, Request
from streams.console.access import USER
from streams.console.commands import parse_requests
from streams.console.forms import OPTION_FIELDS, derived_id, form_values, option_values
from streams.console.orders import submit_requests
from streams.console.pages.rendering import Renderer, redirect
from streams.console.services import Services
from streams.history.rows import format_time
from streams.request_lines import InputError

ACTIONS = get_args(Action)
ABOUT_ACTION = field_descriptions(Request)["action"]

LINK = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"']+")

CLOCK_DIFFERENCE_SECONDS = 5.0
"""A worker whose clock is behind by this much has received what is submitted now."""

SHARED_PARAMETERS = ("url", "text", "title")
"""Parameters of a share target and of the bookmarklet."""


class SubmitPages:
    """The handlers of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._producer = services.producer
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/submit", self.edit)
        router.add_post("/submit", self.submit)

    async def edit(self, request: web.Request) -> web.Response:
        """Show the form, filled with the links that another application has shared."""
        shared = " ".join(request.query.get(name, "") for name in SHARED_PARAMETERS)
        return self._form("\n".join(find_links(shared)))

    async def submit(self, request: web.Request) -> web.Response:
        """Publish a request for each link in the text; an error shows the form again."""
        form = await form_values(request)
        text = form.get("text", "")
        links = await asyncio.to_thread(find_links, text)
        if not links:
            message = "There is no link in the text; a link begins with https:// or www."
            return self._form(text, message, status=400)
        try:
            fields = {"action": form.get("action", ACTIONS[0]), "options": option_values(form)}
            lines = "\n".join(links).encode()
            run_id = derived_id(form)
            requests = await asyncio.to_thread(parse_requests, lines, "the text", run_id, fields)
        except InputError as error:
            return self._form(text, str(error), status=400)
        await submit_requests(self._producer, requests, request[USER])
        if len(requests) == 1:
            return redirect("request", id=requests[0].id, ordered="submit")
        since = format_time(time.time() - CLOCK_DIFFERENCE_SECONDS)
        return redirect("./", since=since, submitted=str(len(requests)))

    def _form(self, text: str, error: str | None = None, status: int = 200) -> web.Response:
        return self._renderer.page(
            "submit.html",
            status,
            text=text,
            error=error,
            actions=ACTIONS,
            about_action=ABOUT_ACTION,
            fields=OPTION_FIELDS,
        )


def find_links(text: str) -> list[str]:
    """Return the links in a text in order, each once."""
    return list(dict.fromkeys(match[0].rstrip(".,;:!?)]}") for match in LINK.finditer(text)))
