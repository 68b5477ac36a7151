"""Checks status and headers of a response for a manifest, key or segment. Pure."""

import re
from collections.abc import Mapping

import msgspec

from agents.network.answers import (
    OK,
    PARTIAL,
    coding_of,
    content_range,
    length_of,
    mime_type_of,
    too_large,
)
from agents.network.errors import from_status
from schemas.errors import ClipmillError, ErrorCode

_ERROR_PAGES = re.compile(r"text/html|application/(?:json|xhtml\+xml)")
"""Types of login and error pages. Other types of text are accepted: servers name segments anything
(``.ts`` is also the extension of a translation file), and manifests are text or XML."""


class ByteRange(msgspec.Struct, frozen=True):
    """A range of a resource's bytes, ``last`` included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last + 1 - self.first

    def headers(self) -> dict[str, str]:
        return {"Range": f"bytes={self.first}-{self.last}"}


class ExpectedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an accepted response.

    Attributes:
        length: bytes after decoding, None when the server does not state it.
        coding: see `agents.network.answers.MediaResponse`.
    """

    length: int | None
    coding: str | None


def check_resource(
    status: int,
    headers: Mapping[str, str],
    byte_range: ByteRange | None,
    *,
    host: str,
    max_bytes: int,
) -> ExpectedBody:
    """Return what the body of a response must be.

    Args:
        status: HTTP status.
        headers: of the response; a case-insensitive mapping.
        byte_range: that was requested; None for the whole resource.
        host: of the response, for messages.
        max_bytes: largest body accepted.

    Raises:
        ClipmillError: ``content.link_expired`` for refusals and error pages, ``network.server``
            for another range than the requested one, ``request.too_large``, or the error of
            `agents.network.errors.from_status`.
    """
    if status not in {OK, PARTIAL}:
        raise from_status(status, headers.get("Retry-After"), host)
    mime_type = mime_type_of(headers) or ""
    if _ERROR_PAGES.fullmatch(mime_type):
        message = f"{host} answered with {mime_type} in place of media"
        raise ClipmillError(ErrorCode.CONTENT_LINK_EXPIRED, message)
    coding = coding_of(headers, host)
    length = length_of(headers) if coding is None else None
    if byte_range is not None or status == PARTIAL:
        length = _check_range(status, headers, byte_range, host)
    if length is not None and length > max_bytes:
        raise too_large(host, max_bytes)
    return ExpectedBody(length=length, coding=coding)


def _check_range(
    status: int, headers: Mapping[str, str], byte_range: ByteRange | None, host: str
) -> int:
    found = content_range(headers)
    if status == PARTIAL and found is not None and byte_range is not None:
        stated = ByteRange(found.first, found.last)
        if stated == byte_range:
            return stated.length
    raise ClipmillError(
        ErrorCode.NETWORK_SERVER, f"{host} answered with another range than was asked for"
    )
