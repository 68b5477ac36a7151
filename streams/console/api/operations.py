"""Declarations of the API's operations, from which its OpenAPI document is made.

The module `SUBJECT_operations` beside the handlers of `SUBJECT` declares its `OPERATIONS`;
`openapi.DECLARED` lists them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

READ_ERRORS = (400, 401, 403, 503)
"""Statuses of the errors of every operation."""

CHANGE_ERRORS = (*READ_ERRORS, 408, 413, 415)
"""The same of an operation with a body."""


TEXT: Mapping[str, Any] = MappingProxyType({"type": "string"})


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the path or the query.

    Attributes:
        schema: JSON Schema of its value.
        description: one sentence in Markdown.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = TEXT
    example: Any = None


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request.

    Attributes:
        content: its type by content type; for a type that is no struct, its JSON Schema.
        example: a valid body of the first content type.
    """

    content: Mapping[str, Any]
    example: Any
    required: bool = True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path.

    Attributes:
        path: below `/api/v1`, as the router names it.
        name: unique among the operations.
        summary: one sentence in Markdown.
        response: type of the response; for a type that is no struct, its JSON Schema.
        example: a response.
        errors: statuses of its errors.
    """

    method: Literal["get", "post", "put", "delete"]
    path: str
    name: str
    summary: str
    response: Any
    example: Any
    status: int = 200
    content_type: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[int, ...] = READ_ERRORS
