"""Requests and responses of the console: bodies, JSON, headers and compression.

A body that cannot be read is the caller's error.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMessage

from schemas.codec import MalformedMessageError, decode
from streams.console.errors import CallError

BODY_SECONDS = 60.0
"""Timeout of a body, so that a slow caller does not hold a connection and its memory forever."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src 'self'; manifest-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

PARTIAL = (hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.RANGE)
"""Headers of requests whose response may have no body, or a part of one."""

COMPRESSED_TYPES = frozenset(
    {"text/html", "text/css", "text/javascript", "application/json", "image/svg+xml"}
)


@asynccontextmanager
async def reading(request: web.Request) -> AsyncIterator[None]:
    """Bound the time of reading, and turn its errors into those of the call.

    Raises:
        CallError: the body is too slow, cut or not in the encoding that it names.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            yield
    except TimeoutError:
        message = f"the body did not arrive within {BODY_SECONDS:.0f} s"
        raise CallError(408, "body", message) from None
    except ConnectionResetError:
        raise CallError(400, "body", "the body ends early") from None
    # aiohttp hands on the errors of its decoders: ValueError for octets and multipart, LookupError
    # for the name of a charset.
    except (BadHttpMessage, web.RequestPayloadError, ValueError, LookupError) as error:
        message = f"the body cannot be read as {request.content_type}: {error}"
        raise CallError(400, "body", message[:300]) from None


async def read_body(request: web.Request) -> bytes:
    """Return the body.

    Raises:
        CallError: as for `reading`.
    """
    async with reading(request):
        return await request.read()


async def read_object(request: web.Request, *allowed: str) -> dict[str, Any]:
    """Return the JSON object in a body; an empty body is an empty object.

    Raises:
        CallError: it is something else, or has a field that is not allowed.
    """
    data = await read_body(request)
    if not data:
        return {}
    if request.content_type != "application/json":
        message = f"{request.content_type}: the body is application/json"
        raise CallError(415, "Content-Type", message)
    try:
        body = decode(data, dict[str, Any])
    except MalformedMessageError as error:
        raise CallError(400, "body", str(error)) from None
    if unknown := sorted(body.keys() - set(allowed)):
        message = f"`$.{unknown[0][:80]}` is unknown; there is {', '.join(allowed) or 'none'}"
        raise CallError(400, "body", message)
    return body


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


def complete(request: web.Request, response: web.StreamResponse, *, is_static: bool) -> None:
    """Add the headers that a response has not set itself; compress text if gzip is accepted.

    Args:
        request: the call.
        response: not sent yet.
        is_static: a file that a browser keeps and revalidates each time: the pages of an updated
            console need its own scripts and styles.
    """
    caching = {"Cache-Control": "no-cache"} if is_static else {}
    response.headers.update(HEADERS | caching | dict(response.headers))
    # The type of a static file follows from its name only when it is sent.
    is_text = is_static or response.content_type in COMPRESSED_TYPES
    # aiohttp sends the end of the gzip stream after a 304 too, which is then the next response.
    is_partial = any(name in request.headers for name in PARTIAL)
    if is_text and not is_partial and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        response.enable_compression(web.ContentCoding.gzip)
    if is_text:
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
