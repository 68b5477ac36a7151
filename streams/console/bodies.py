"""Reads the bodies of requests; a body that cannot be read is the caller's error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from streams.console.errors import CallError

BODY_SECONDS = 60.0
"""Timeout of a body, so that a slow caller does not hold a connection and its memory for ever."""


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
