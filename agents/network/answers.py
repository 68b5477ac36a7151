"""Judges the head of a media answer: is it the media, and from which byte on? Pure."""

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

# What login pages, error pages, API answers and several parts at once are; media never is.
_PAGES = re.compile(
    r"text/.*|multipart/.*|application/(?:json|xml|javascript|x-javascript)|.*\+(?:json|xml)"
)

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
        coding: a key of `agents.network.decoding.CODINGS`; None for bytes as they are.
    """

    partial: Partial
    mime_type: str | None
    delimited: bool
    coding: str | None = None


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
            ``request.too_large``, ``network.server`` for an unknown encoding or a part that was
            not asked for, or what `agents.network.errors.from_status` says.
    """
    resuming = bool(asked.range_headers())
    if resuming and status == RANGE_NOT_SATISFIABLE:
        return None
    if status != OK and not (resuming and status == PARTIAL):
        raise from_status(status, headers.get("Retry-After"), host)
    _refuse_pages(headers, host)
    coding = _coding(headers, host)
    if status == PARTIAL or "Content-Range" in headers:
        partial = _rest(headers, asked, coding) if resuming else _all_of_it(headers, host)
    else:
        partial = _whole(headers, asked if resuming else Partial(), coding)
    if partial is None:
        return None
    if partial.total is not None and partial.total > max_bytes:
        raise too_large(host, max_bytes)
    return Answer(
        partial=partial if coding is None else Partial(),
        mime_type=_mime_type(headers),
        delimited=coding is not None or _is_delimited(headers),
        coding=coding,
    )


def _whole(headers: Mapping[str, str], asked: Partial, coding: str | None) -> Partial | None:
    """Return what a plain 200 brings; None when it may be the rest that was asked for.

    Some servers send the rest with status 200: its length is then that of the rest, or differs
    from the length of the same file. A file that is asked for without a range is whole.
    """
    validator, length = _validator(headers), _length(headers)
    if coding is not None:
        return Partial()
    same_file = asked.validator is not None and validator == asked.validator
    other_length = same_file and length != asked.total
    if None not in (asked.total, length) and (other_length or length == _missing(asked)):
        return None
    total = asked.total if same_file and length is None else length
    return Partial(validator=validator, total=total)


def _missing(asked: Partial) -> int:
    return (asked.total or 0) - asked.offset


def _all_of_it(headers: Mapping[str, str], host: str) -> Partial:
    """Return what a 200 with ``Content-Range`` brings when no range was asked for.

    Raises:
        ClipmillError: ``network.server``; it is a part of the file only.
    """
    found = _content_range(headers)
    if found is None or (found.first, found.last + 1) != (0, found.total):
        raise ClipmillError(
            ErrorCode.NETWORK_SERVER, f"{host} answered with a part of the file, not the whole"
        )
    return Partial(validator=_validator(headers), total=found.total)


def _rest(headers: Mapping[str, str], asked: Partial, coding: str | None) -> Partial | None:
    """Return what there will be of the file with its rest; None when this is not its rest.

    Offsets are those of the bytes that are sent: the rest of a compressed file continues nothing.
    """
    found, validator = _content_range(headers), _validator(headers)
    if coding is not None or found is None or found.first != asked.offset:
        return None
    total = asked.total or found.total
    same_size = None in (found.total, asked.total) or found.total == asked.total
    same_file = validator in (None, asked.validator)
    length = _length(headers)
    same_length = length is None or length == found.last + 1 - found.first
    if total is None or not (same_size and same_file and same_length):
        return None
    return msgspec.structs.replace(asked, total=total)


class _ContentRange(NamedTuple):
    first: int
    last: int
    total: int | None


def _content_range(headers: Mapping[str, str]) -> _ContentRange | None:
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip().lower())
    if match is None:
        return None
    found = _ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))
    ordered = found.first <= found.last and (found.total is None or found.last < found.total)
    return found if ordered else None


def _coding(headers: Mapping[str, str], host: str) -> str | None:
    told = headers.get("Content-Encoding", "").lower().split(",")
    codings = [name for each in told if (name := each.strip()) not in {"", "identity"}]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise ClipmillError(
            ErrorCode.NETWORK_SERVER,
            f"{host} encoded the media as {', '.join(codings)[:80]!r}, which was not asked for"
            " and cannot be decoded",
        )
    return codings[0]


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
    if _PAGES.fullmatch(mime_type):
        raise ClipmillError(
            ErrorCode.CONTENT_LINK_EXPIRED, f"{host} answered with {mime_type} in place of media"
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
