"""Requests made of URLs and lines on the client's side, checked as the service checks them."""

from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import Request
from streams.cli.request_lines import InputError, Line
from streams.topics import REQUEST_BYTES_MAX

MARGIN_BYTES = 64
"""Of a batch for its number and the names of its fields."""


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is to be published.

    Attributes:
        body: its JSON.
        url: None for a batch.
        members: of a batch, 0 for a single URL.
    """

    id: str
    body: bytes
    url: str | None
    members: int


class RequestMaker:
    """Makes requests of lines, in their order.

    A line is a URL, or a whole request as a JSON object; what such a line leaves out is taken from
    ``fields``. The requests of one run have the ids ``<run id>-1``, ``<run id>-2``, and so on: the
    same input with the same run id gives the same requests, which the service answers once.

    Attributes:
        run_id: first part of the ids.

    Args:
        run_id: see above.
        fields: what all requests have in common.
        batch: URLs in one request at most; None for requests of their own.
        alone: there will be one request only; it is named as the run.
    """

    def __init__(
        self, run_id: str, fields: dict[str, Any], *, batch: int | None = None, alone: bool = False
    ) -> None:
        self.run_id = run_id
        self._fields = fields
        self._batch = batch
        self._alone = alone
        self._made = 0
        self._urls: list[str] = []
        self._bytes = 0
        self._place = ""
        self._bytes_max = REQUEST_BYTES_MAX - len(encode({**fields, "id": run_id})) - MARGIN_BYTES

    def take(self, line: Line) -> Iterator[NewRequest]:
        """Iterate over the requests that are complete with this line.

        Raises:
            InputError: the line cannot be a request.
        """
        if line.text.startswith("{"):
            yield self._make(self._whole(line), line.place)
        elif self._batch is None:
            yield self._make({**self._fields, "url": line.text}, line.place)
        else:
            yield from self._collect(line, self._batch)

    def end(self) -> Iterator[NewRequest]:
        """Iterate over what is left when there are no more lines: the last batch."""
        if self._urls:
            urls, self._urls, self._bytes = self._urls, [], 0
            yield self._make({**self._fields, "urls": urls}, self._place)

    def _collect(self, line: Line, size: int) -> Iterator[NewRequest]:
        added = len(encode(line.text)) + 1
        if self._bytes + added > self._bytes_max:
            yield from self.end()
        if not self._urls:
            self._place = f"the batch from {line.place}"
        self._urls.append(line.text)
        self._bytes += added
        if len(self._urls) == size:
            yield from self.end()

    def _whole(self, line: Line) -> dict[str, Any]:
        """Return the fields of a request that a line gives, and of the command line."""
        try:
            given = decode(line.text.encode(), dict[str, Any])
        except MalformedMessageError as error:
            raise InputError(f"{line.place}: {error}") from None
        merged = {**self._fields, **given}
        common, options = self._fields.get("options", {}), given.get("options", {})
        if isinstance(options, dict) and (common or options):
            merged["options"] = {**common, **options}
        return merged

    def _make(self, fields: dict[str, Any], place: str) -> NewRequest:
        number = self._made + 1
        name = self.run_id if self._alone else f"{self.run_id}-{number}"
        if fields.get("id") is None:
            fields = {**fields, "id": name}
        body = encode(fields)
        try:
            request = decode(body, Request)
        except MalformedMessageError as error:
            raise InputError(f"{place}: {error}") from None
        if len(body) > REQUEST_BYTES_MAX:
            raise InputError(f"{place}: {len(body)} bytes, at most {REQUEST_BYTES_MAX} are taken")
        self._made = number
        return NewRequest(
            id=request.id or name, body=body, url=request.url, members=len(request.urls or ())
        )
