"""Checks status and headers of a media response: is it the media, and from which offset? Pure.

Decides between accepting the body, resuming at an offset (RFC 9110, range requests), restarting
from zero, and failing. Login and error pages are rejected by their media type.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from agents.network.decoding import CODINGS
from agents.network.errors import from_status
from schemas.errors import ClipmillError, ErrorCode

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"[!#-~]{1,256}"')
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")

# Types of login pages, error pages, API responses and multipart bodies; never of media.
_PAGES = re.compile(
    r"text/.*|multipart/.*|application/(?:json|xml|javascript|x-javascript)|.*\+(?:json|xml)"
)

OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416


class PartialBody(msgspec.Struct, frozen=True, kw_only=True):
    """The received part of a body, and the validator for resuming it.

    Attributes:
        offset: bytes received.
        validator: strong ETag or Last-Modified of the response that they came with.
        total: size of the whole body, None when unknown.
    """

    offset: int = 0
    validator: str | None = None
    total: int | None = None

    def range_headers(self) -> dict[str, str]:
        """Return the headers to resume; empty to start from zero."""
        if not self.offset or self.validator is None:
            return {}
        return {"Range": f"bytes={self.offset}-", "If-Range": self.validator}


class MediaResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted media response.

    Attributes:
        partial: of the body; ``offset`` is the position of this response's first byte.
        mime_type: stated by the server, None without.
        delimited: the transfer itself reveals a truncated body.
        coding: a key of `agents.network.decoding.CODINGS`; None for bytes as they are.
    """

    partial: PartialBody
    mime_type: str | None
    delimited: bool
    coding: str | None = None


def check_response(
    status: int, headers: Mapping[str, str], requested: PartialBody, *, host: str, max_bytes: int
) -> MediaResponse | None:
    """Return the accepted response, None when the transfer must restart from zero.

    Args:
        status: HTTP status.
        headers: of the response; a case-insensitive mapping.
        requested: the part received before the request.
        host: of the response, for messages.
        max_bytes: largest body accepted.

    Raises:
        ClipmillError: ``content.link_expired`` for refusals and for pages instead of media,
            ``request.too_large``, ``network.server`` for an unknown encoding or an unrequested
            part, or the error of `agents.network.errors.from_status`.
    """
    resuming = bool(requested.range_headers())
    if resuming and status == RANGE_NOT_SATISFIABLE:
        return None
    if status != OK and not (resuming and status == PARTIAL):
        raise from_status(status, headers.get("Retry-After"), host)
    _reject_pages(headers, host)
    coding = coding_of(headers, host)
    if status == PARTIAL or "Content-Range" in headers:
        partial = _resumed(headers, requested, coding) if resuming else _full_range(headers, host)
    else:
        partial = _whole(headers, requested if resuming else PartialBody(), coding)
    if partial is None:
        return None
    if partial.total is not None and partial.total > max_bytes:
        raise too_large(host, max_bytes)
    return MediaResponse(
        partial=partial if coding is None else PartialBody(),
        mime_type=mime_type_of(headers),
        delimited=coding is not None or _is_delimited(headers),
        coding=coding,
    )


def _whole(
    headers: Mapping[str, str], requested: PartialBody, coding: str | None
) -> PartialBody | None:
    """Accept a plain 200; None when it may be the remaining part instead of the whole.

    Some servers send the remaining part with status 200: the length is then that of the part, or
    differs from the known one of the same file. Without a range request a 200 is whole.
    """
    validator, length = _validator(headers), length_of(headers)
    if coding is not None:
        return PartialBody()
    same_file = requested.validator is not None and validator == requested.validator
    other_length = same_file and length != requested.total
    if None not in (requested.total, length) and (other_length or length == _missing(requested)):
        return None
    total = requested.total if same_file and length is None else length
    return PartialBody(validator=validator, total=total)


def _missing(requested: PartialBody) -> int:
    return (requested.total or 0) - requested.offset


def _full_range(headers: Mapping[str, str], host: str) -> PartialBody:
    """Accept a 200 with ``Content-Range`` although no range was requested.

    Raises:
        ClipmillError: ``network.server``; it is only a part of the file.
    """
    found = content_range(headers)
    if found is None or (found.first, found.last + 1) != (0, found.total):
        raise ClipmillError(
            ErrorCode.NETWORK_SERVER, f"{host} answered with a part of the file only"
        )
    return PartialBody(validator=_validator(headers), total=found.total)


def _resumed(
    headers: Mapping[str, str], requested: PartialBody, coding: str | None
) -> PartialBody | None:
    """Accept the remaining part of a file; None when it does not continue the received one.

    Offsets count transferred bytes, so the remaining part of a compressed body cannot be appended.
    """
    found, validator = content_range(headers), _validator(headers)
    if coding is not None or found is None or found.first != requested.offset:
        return None
    total = requested.total or found.total
    same_size = None in (found.total, requested.total) or found.total == requested.total
    same_file = validator in (None, requested.validator)
    length = length_of(headers)
    same_length = length is None or length == found.last + 1 - found.first
    if total is None or not (same_size and same_file and same_length):
        return None
    return msgspec.structs.replace(requested, total=total)


class ContentRange(NamedTuple):
    """The range of a partial response; ``last`` included."""

    first: int
    last: int
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return the stated range, None when it is missing or invalid."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip().lower())
    if match is None:
        return None
    found = ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))
    ordered = found.first <= found.last and (found.total is None or found.last < found.total)
    return found if ordered else None


def coding_of(headers: Mapping[str, str], host: str) -> str | None:
    """Return the content coding, None for bytes as they are.

    Raises:
        ClipmillError: ``network.server``; it cannot be decoded.
    """
    listed = headers.get("Content-Encoding", "").lower().split(",")
    codings = [name for each in listed if (name := each.strip()) not in {"", "identity"}]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise ClipmillError(
            ErrorCode.NETWORK_SERVER,
            f"{host} encoded the media as {', '.join(codings)[:80]!r}, which was not requested"
            " and cannot be decoded",
        )
    return codings[0]


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return the strongest validator; a weak ETag does not identify bytes (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    return headers.get("Last-Modified")


def length_of(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def _is_delimited(headers: Mapping[str, str]) -> bool:
    chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    return chunked or length_of(headers) is not None


def mime_type_of(headers: Mapping[str, str]) -> str | None:
    text = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return text if _MEDIA_TYPE.fullmatch(text) else None


def _reject_pages(headers: Mapping[str, str], host: str) -> None:
    mime_type = mime_type_of(headers) or ""
    if _PAGES.fullmatch(mime_type):
        raise ClipmillError(
            ErrorCode.CONTENT_LINK_EXPIRED, f"{host} answered with {mime_type} in place of media"
        )


def too_large_together(max_bytes: int) -> ClipmillError:
    """Return the error for files whose total size exceeds the limit."""
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        f"the files of the post have more than the {max_bytes} bytes permitted together",
    )


def too_large(host: str, max_bytes: int) -> ClipmillError:
    """Return the error for a body that exceeds the limit."""
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        f"the file at {host} is larger than the {max_bytes} bytes permitted",
    )
