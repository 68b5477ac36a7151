"""The login page: exchanges the token for a session cookie."""

import asyncio
import time

from aiohttp import web

from streams.console.access import SESSION_SECONDS, AccessRules
from streams.console.forms import form_values
from streams.console.pages.rendering import Renderer, redirect

SESSION_COOKIE = "clipmill_session"

PATHS = frozenset({"/login", "/logout"})
"""Paths that need no session."""

FORM_BYTES_MAX = 4_096
"""The one form that a caller without login may send."""

REJECTED_SECONDS = 1.0
"""Delay of the response to a wrong token, which limits the rate of guesses."""


class LoginPages:
    """The handlers of this page."""

    def __init__(self, rules: AccessRules, renderer: Renderer) -> None:
        self._rules = rules
        self._renderer = renderer
        self._rejecting = asyncio.Lock()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/login", self.edit)
        router.add_post("/login", self.log_in)
        router.add_post("/logout", self.log_out)

    async def edit(self, _request: web.Request) -> web.Response:
        return self._renderer.page("login.html", error=None)

    async def log_in(self, request: web.Request) -> web.Response:
        form = await form_values(request.clone(client_max_size=FORM_BYTES_MAX))
        user = self._rules.user_of_token(form.get("token", ""))
        if user is None:
            # Rejections are serialised, so more connections do not make more attempts per second.
            async with self._rejecting:
                await asyncio.sleep(REJECTED_SECONDS)
            return self._renderer.page("login.html", 401, error="This is not the token.")
        response = redirect("./")
        response.set_cookie(
            SESSION_COOKIE,
            self._rules.new_session(user, time.time()),
            max_age=SESSION_SECONDS,
            path="",  # the directory of this page, which only a proxy in front knows
            secure=request.headers.get("Origin", "").startswith("https:"),
            httponly=True,
            # Not Strict: a link that a foreign page opens, as the bookmarklet does, needs it. What
            # changes something is a POST, which the access rules accept of this origin only.
            samesite="Lax",
        )
        return response

    async def log_out(self, _request: web.Request) -> web.Response:
        response = redirect("login")
        response.del_cookie(SESSION_COOKIE, path="")
        return response
