"""Routes of the handlers: paths of the pages, and operations of the API under ``/api/v1``.

A handler's decorator declares its route. The OpenAPI document is made of the operations.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
from aiohttp import web

ROOT = "/api/v1"

READ_ERRORS = (400, 401, 403, 503)
"""Statuses of the errors of every operation."""

CHANGE_ERRORS = (*READ_ERRORS, 408, 413, 415)
"""The same of an operation with a body."""

TEXT: Mapping[str, Any] = MappingProxyType({"type": "string"})

RouteHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmptyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object without fields."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of the path or the query.

    Attributes:
        schema: JSON Schema of its value.
        description: one sentence in Markdown.
        pattern: regular expression of a parameter of the path.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = TEXT
    example: Any = None
    pattern: str = "[^/]+"


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request.

    Attributes:
        content: its type by content type; for a type that is no struct, its JSON Schema.
        example: a valid body of the first content type.
    """

    content: Mapping[str, Any]
    example: Any
    required: bool = True


NO_BODY = Body(content={"application/json": EmptyBody}, example={}, required=False)


class RouteOperation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path.

    Attributes:
        path: below `ROOT`.
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


class Routes(web.RouteTableDef):
    """The routes of one module of handlers.

    Attributes:
        operations: those of the API among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[RouteOperation] = []

    def operation(self, operation: RouteOperation) -> Callable[[RouteHandler], RouteHandler]:
        """Return the decorator of the handler of an operation."""
        path = operation.path
        for each in operation.parameters:
            path = path.replace(f"{{{each.name}}}", f"{{{each.name}:{each.pattern}}}")

        def decorate(handler: RouteHandler) -> RouteHandler:
            self.operations.append(operation)
            self.route(operation.method.upper(), f"{ROOT}{path}")(handler)
            return handler

        return decorate
