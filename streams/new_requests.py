"""Client-side construction of requests from URLs and lines, validated as the service does."""

from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import Request
from streams.request_lines import InputError, RequestLine
from streams.topics import REQUEST_BYTES_MAX

MARGIN_BYTES = 64
"""Bytes reserved in a batch for the number in its id and the name of its URL field."""


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
