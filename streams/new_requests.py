"""Client-side construction of requests: ids, and lines of text validated as the service does."""

import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import Request, strip_invisible
from streams.topics import REQUEST_BYTES_MAX

MARGIN_BYTES = 64
"""Bytes reserved in a batch for the number in its id and the name of its URL field."""


ID_BYTES = 8


def new_id() -> str:
    """Return a random id for a request or a command."""
    return secrets.token_hex(ID_BYTES)


class InputError(Exception):
    """A line or file is unusable; the text names it and the reason."""


class RequestLine(NamedTuple):
    """A line that is neither blank nor a comment, and its location for error texts."""

    location: str
    text: str


class LineSplitter:
    """Splits the blocks of one file into lines; memory is bounded by one block.

    Args:
        name: name of the source, for error texts.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 0
        self._partial = b""

    def feed(self, block: bytes) -> Iterator[RequestLine]:
        """Iterate over the lines that this block completes.

        Raises:
            InputError: a line is not UTF-8, or longer than any request may be.
        """
        *complete, self._partial = (self._partial + block).split(b"\n")
        for raw in complete:
            yield from self._line(raw)
        if len(self._partial) > REQUEST_BYTES_MAX:
            yield from self.flush()

    def flush(self) -> Iterator[RequestLine]:
        """Iterate over the last line of a file that lacks a line end."""
        raw, self._partial = self._partial, b""
        yield from self._line(raw)

    def _line(self, raw: bytes) -> Iterator[RequestLine]:
        self._number += 1
        location = f"{self._name}, line {self._number}"
        if len(raw) > REQUEST_BYTES_MAX:
            raise InputError(
                f"{location}: longer than {REQUEST_BYTES_MAX} bytes, the maximum of a request"
            )
        try:
            # Some editors write a byte-order mark at the start of a file, other programs of a line.
            text = strip_invisible(raw.decode())
        except UnicodeDecodeError:
            raise InputError(f"{location}: not UTF-8 text") from None
        if text and not text.startswith("#"):
            yield RequestLine(location, text)


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request ready to be published.

    Attributes:
        body: its JSON.
        url: None for a batch.
        members: size of the batch, 0 for a single URL.
    """

    id: str
    body: bytes
    url: str | None
    members: int


class RequestBuilder:
    """Builds requests from lines, in order.

    A line is a URL, or a complete request as a JSON object, whose missing fields are taken from
    ``fields``. The requests of one run have the ids ``<run id>-1``, ``<run id>-2``, and so on.
    Submission is idempotent: the same input with the same run id yields the same requests, of
    which the service decides each once.

    Attributes:
        run_id: prefix of the ids.

    Args:
        run_id: see above.
        fields: fields of all requests.
        batch: maximum URLs in one request; None for one request per URL.
        single: only one request will be built; its id is the run id.
    """

    def __init__(
        self, run_id: str, fields: dict[str, Any], *, batch: int | None = None, single: bool = False
    ) -> None:
        self.run_id = run_id
        self._fields = fields
        self._batch = batch
        self._single = single
        self._count = 0
        self._urls: list[str] = []
        self._bytes = 0
        self._location = ""
        self._bytes_max = REQUEST_BYTES_MAX - len(encode({**fields, "id": run_id})) - MARGIN_BYTES

    def add(self, line: RequestLine) -> Iterator[NewRequest]:
        """Iterate over the requests that this line completes.

        Raises:
            InputError: the line is not a valid request.
        """
        if line.text.startswith("{"):
            yield self._build(self._merge_fields(line), line.location)
        elif self._batch is None:
            yield self._build({**self._fields, "url": line.text}, line.location)
        else:
            yield from self._collect(line, self._batch)

    def flush(self) -> Iterator[NewRequest]:
        """Iterate over the last, incomplete batch, if there is one."""
        if self._urls:
            urls, self._urls, self._bytes = self._urls, [], 0
            yield self._build({**self._fields, "urls": urls}, self._location)

    def _collect(self, line: RequestLine, size: int) -> Iterator[NewRequest]:
        added = len(encode(line.text)) + 1
        if self._bytes + added > self._bytes_max:
            yield from self.flush()
        if not self._urls:
            self._location = f"the batch from {line.location}"
        self._urls.append(line.text)
        self._bytes += added
        if len(self._urls) == size:
            yield from self.flush()

    def _merge_fields(self, line: RequestLine) -> dict[str, Any]:
        """Merge the fields of a JSON line over those of the command line; options too."""
        try:
            given = decode(line.text.encode(), dict[str, Any])
        except MalformedMessageError as error:
            raise InputError(f"{line.location}: {error}") from None
        merged = {**self._fields, **given}
        common, options = self._fields.get("options", {}), given.get("options", {})
        if isinstance(options, dict) and (common or options):
            merged["options"] = {**common, **options}
        return merged

    def _build(self, fields: dict[str, Any], location: str) -> NewRequest:
        number = self._count + 1
        name = self.run_id if self._single else f"{self.run_id}-{number}"
        if fields.get("id") is None:
            fields = {**fields, "id": name}
        body = encode(fields)
        try:
            request = decode(body, Request)
        except MalformedMessageError as error:
            raise InputError(f"{location}: {error}") from None
        if len(body) > REQUEST_BYTES_MAX:
            raise InputError(f"{location}: {len(body)} bytes; the maximum is {REQUEST_BYTES_MAX}")
        self._count = number
        return NewRequest(
            id=request.id or name, body=body, url=request.url, members=len(request.urls or ())
        )
