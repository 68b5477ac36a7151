"""The headers of every response, and its compression."""

from aiohttp import hdrs, web

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

CACHED_SECONDS = 300

COMPRESSED_TYPES = frozenset(
    {"text/html", "text/css", "text/javascript", "application/json", "image/svg+xml"}
)


def complete(request: web.Request, response: web.StreamResponse, *, is_cached: bool) -> None:
    """Add the headers that a response has not set itself; compress text that a client accepts so.

    Args:
        request: the call.
        response: not sent yet.
        is_cached: a browser may use it again without asking.
    """
    caching = {"Cache-Control": f"max-age={CACHED_SECONDS}"} if is_cached else {}
    response.headers.update(HEADERS | caching | dict(response.headers))
    # The type of a static file follows from its name only when it is sent.
    is_text = is_cached or response.content_type in COMPRESSED_TYPES
    if is_text and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        response.enable_compression(web.ContentCoding.gzip)
    if is_text:
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
