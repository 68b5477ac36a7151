"""JSON responses of the API, and its request bodies."""

from typing import Any

import orjson
from aiohttp import web

from schemas.codec import MalformedMessageError, decode
from streams.console.bodies import read_body
from streams.console.errors import CallError

ROOT = "/api/v1"


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


def error_response(status: int, field: str, message: str) -> web.Response:
    """Return an error that names the parameter that it concerns."""
    return json_response({"error": {"field": field, "message": message}}, status)


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
