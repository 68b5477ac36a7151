"""The login page: exchanges the token for a session cookie."""

import asyncio
import time

from aiohttp import web

from streams.console.access import RULES, SESSION_COOKIE, SESSION_SECONDS
from streams.console.forms import form_values
from streams.console.rendering import redirect, render
from streams.console.routes import Routes

ROUTES = Routes()

FORM_BYTES_MAX = 4_096
"""The one form that a caller without login may send."""

REJECTED_SECONDS = 1.0
"""Delay of the response to a wrong token, which limits the rate of guesses."""


REJECTING = web.AppKey("rejecting", asyncio.Lock)
"""Serialises rejections: more connections do not make more attempts per second."""


@ROUTES.get("/login")
async def login_page(request: web.Request) -> web.StreamResponse:
    return render(request, "login.html", error=None)


@ROUTES.post("/login")
async def log_in(request: web.Request) -> web.StreamResponse:
    form = await form_values(request.clone(client_max_size=FORM_BYTES_MAX))
    rules = request.app[RULES]
    user = rules.user_of_token(form.get("token", ""))
    if user is None:
        async with request.app[REJECTING]:
            await asyncio.sleep(REJECTED_SECONDS)
        return render(request, "login.html", 401, error="This is not the token.")
    response = redirect("./")
    response.set_cookie(
        SESSION_COOKIE,
        rules.new_session(user, time.time()),
        max_age=SESSION_SECONDS,
        path="",  # the directory of this page, which only a proxy in front knows
        secure=request.headers.get("Origin", "").startswith("https:"),
        httponly=True,
        # Not Strict: a link that a foreign page opens, as the bookmarklet does, needs it. What
        # changes something is a POST, which the access rules accept of this origin only.
        samesite="Lax",
    )
    return response


@ROUTES.post("/logout")
async def log_out(_request: web.Request) -> web.StreamResponse:
    response = redirect("login")
    response.del_cookie(SESSION_COOKIE, path="")
    return response
