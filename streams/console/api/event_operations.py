"""Operations on the stream of changes."""

from typing import Any

from streams.console.api.operations import READ_ERRORS, Operation, Parameter

_STREAM: dict[str, Any] = {
    "type": "string",
    "description": "Server-sent events `requests`, `counts` and `reset`; the data are JSON.",
}

OPERATIONS = (
    Operation(
        method="get",
        path="/events",
        name="streamEvents",
        summary="Send changes as they happen, until the client disconnects.",
        parameters=(
            Parameter(name="after", description="Id of the last received event.", example="1.42"),
            Parameter(name="request", description="Id of the one request whose changes are sent."),
        ),
        content_type="text/event-stream",
        response=_STREAM,
        example='retry: 2000\nid: 1.42\n\nevent: counts\ndata: {"states":{"completed":120}}\n\n',
        errors=READ_ERRORS,
    ),
)
