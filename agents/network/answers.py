"""Judges the head of a media answer: is it the media, and from which byte on? Pure."""

import re
from collections.abc import Mapping

import msgspec

from agents.network.errors import from_status
from schemas.errors import ClipmillError, ErrorCode

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_STRONG_ETAG = re.compile(r'"[!#-~]{1,256}"')
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")

# What login pages, error pages and API answers are; media never is.
_PAGES = ("text/", "application/json", "application/xml", "application/xhtml+xml")

OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of a body, and what tells whether the rest still belongs to it.

    Attributes:
        offset: bytes that are there.
        validator: strong ETag or Last-Modified of the answer that they came with.
        total: size of the whole, when told.
    """

    offset: int = 0
    validator: str | None = None
    total: int | None = None

    def range_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest; empty when all has to come again."""
        if not self.offset or self.validator is None:
            return {}
        return {"Range": f"bytes={self.offset}-", "If-Range": self.validator}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A media answer that is accepted.

    Attributes:
        partial: what will be known of the body; ``offset`` is where this answer's bytes go.
        mime_type: as the server says, None when it does not.
        delimited: the transfer itself tells a complete body from a cut one.
    """

    partial: Partial
    mime_type: str | None
    delimited: bool


def judge(
    status: int, headers: Mapping[str, str], asked: Partial, *, host: str, max_bytes: int
) -> Answer | None:
    """Return what the answer brings, None when the bytes so far are void and all must come again.

    Args:
        status: HTTP status.
        headers: of the answer; any spelling of names must be found.
        asked: what was there when the request was made.
        host: who answered, for messages.
        max_bytes: largest body accepted.

    Raises:
        ClipmillError: ``content.link_expired`` for refusals and for pages in place of media,
            ``request.too_large``, or what `agents.network.errors.from_status` says.
    """
    resuming = bool(asked.range_headers())
    if resuming and status == RANGE_NOT_SATISFIABLE:
        return None
    if status != OK and not (resuming and status == PARTIAL):
        raise from_status(status, headers.get("Retry-After"), host)
    _refuse_pages(headers, host)
    partial = _partial(status, headers, asked)
    if partial is None:
        return None
    if partial.total is not None and partial.total > max_bytes:
        raise too_large(host, max_bytes)
    return Answer(partial=partial, mime_type=_mime_type(headers), delimited=_is_delimited(headers))


def _partial(status: int, headers: Mapping[str, str], asked: Partial) -> Partial | None:
    validator = _validator(headers)
    if status == OK:
        return Partial(validator=validator, total=_length(headers))
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip().lower())
    if match is None or int(match[1]) != asked.offset:
        return None
    total = None if match[3] == "*" else int(match[3])
    same_size = None in (total, asked.total) or total == asked.total
    same_file = validator in (None, asked.validator)
    if not (same_size and same_file):
        return None
    return msgspec.structs.replace(asked, total=asked.total or total)


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return the strongest validator; a weak ETag says nothing about bytes (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    return headers.get("Last-Modified")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def _is_delimited(headers: Mapping[str, str]) -> bool:
    chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    return chunked or _length(headers) is not None


def _mime_type(headers: Mapping[str, str]) -> str | None:
    text = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return text if _MEDIA_TYPE.fullmatch(text) else None


def _refuse_pages(headers: Mapping[str, str], host: str) -> None:
    mime_type = _mime_type(headers) or ""
    if mime_type.startswith(_PAGES):
        raise ClipmillError(
            ErrorCode.CONTENT_LINK_EXPIRED, f"{host} answered with {mime_type} in place of media"
        )
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise ClipmillError(
            ErrorCode.NETWORK_SERVER, f"{host} compressed the media, which was not asked for"
        )


def too_large_together(max_bytes: int) -> ClipmillError:
    """Return the refusal of files that are larger together than permitted."""
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        f"the files of the post have more than the {max_bytes} bytes permitted together",
    )


def too_large(host: str, max_bytes: int) -> ClipmillError:
    """Return the refusal of a body that is larger than permitted."""
    return ClipmillError(
        ErrorCode.REQUEST_TOO_LARGE,
        f"the file at {host} is larger than the {max_bytes} bytes permitted",
    )
