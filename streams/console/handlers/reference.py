"""The documents of the interfaces, and the page that shows that of the API without JavaScript."""

import asyncio
import json
import shlex
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from streams.console.http_messages import json_response
from streams.console.openapi import openapi
from streams.console.rendering import render
from streams.console.routes import ROOT, RouteOperation, Routes
from streams.contract.asyncapi import asyncapi
from streams.stage import load_stages

ROUTES = Routes()

Node = Mapping[str, Any]

SCHEMA_PREFIX = "#/components/schemas/"


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of an operation.

    Attributes:
        bodies: content type and schema of each body.
        responses: status, description, and schema of each response.
        call: an example as a command line.
    """

    name: str
    method: str
    path: str
    summary: str
    parameters: list[Node]
    bodies: list[tuple[str, str]]
    responses: list[tuple[str, str, str]]
    call: str
    example: str


class SchemaView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of a schema.

    Attributes:
        fields: name, type and description of each field.
    """

    name: str
    description: str
    fields: list[tuple[str, str, str]]


class ApiDocument:
    """The OpenAPI document of these operations, and what its page shows; made when needed."""

    def __init__(self, operations: Iterable[RouteOperation]) -> None:
        self._operations = operations

    @cached_property
    def openapi(self) -> dict[str, Any]:
        return openapi(self._operations)

    @cached_property
    def operations(self) -> list[OperationView]:
        return [
            operation_view(path, method, each, self.openapi)
            for path, methods in self.openapi["paths"].items()
            for method, each in methods.items()
        ]

    @cached_property
    def schemas(self) -> list[SchemaView]:
        schemas = self.openapi["components"]["schemas"]
        return [schema_view(name, each) for name, each in schemas.items()]


DOCUMENT = web.AppKey("document", ApiDocument)

_OBJECT: dict[str, Any] = {"type": "object"}


@ROUTES.get("/api")
async def api_page(request: web.Request) -> web.StreamResponse:
    document = request.app[DOCUMENT]
    operations = await asyncio.to_thread(lambda: document.operations)
    return render(request, "api.html", operations=operations, schemas=document.schemas, root=ROOT)


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/openapi.json",
        name="openapi",
        summary="Return this document.",
        response=_OBJECT,
        example={"openapi": "3.1.1"},
        errors=(401, 403),
    )
)
async def show_openapi(request: web.Request) -> web.StreamResponse:
    document = request.app[DOCUMENT]
    return json_response(await asyncio.to_thread(lambda: document.openapi))


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/asyncapi.json",
        name="asyncapi",
        summary="Return the AsyncAPI document of the topics.",
        response=_OBJECT,
        example={"asyncapi": "3.0.0"},
        errors=(401, 403),
    )
)
async def show_asyncapi(_request: web.Request) -> web.StreamResponse:
    return json_response(await asyncio.to_thread(_asyncapi))


@cache
def _asyncapi() -> object:
    return asyncapi(load_stages())


def operation_view(path: str, method: str, operation: Node, document: Node) -> OperationView:
    bodies = operation.get("requestBody", {}).get("content", {})
    found = {status: _resolve(each, document) for status, each in operation["responses"].items()}
    success = next(iter(found.values()))
    return OperationView(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        parameters=operation["parameters"],
        bodies=[(name, type_text(each["schema"])) for name, each in bodies.items()],
        responses=[
            (status, each["description"], type_text(_only(each["content"])["schema"]))
            for status, each in found.items()
        ],
        call=call_text(path, method, operation),
        example=json.dumps(_only(success["content"])["example"], indent=2, ensure_ascii=False),
    )


def schema_view(name: str, schema: Node) -> SchemaView:
    fields = schema.get("properties", {})
    return SchemaView(
        name=name,
        description=schema.get("description", ""),
        fields=[
            (field, type_text(each), each.get("description", "")) for field, each in fields.items()
        ],
    )


def type_text(schema: Node) -> str:
    """Return a schema as a short text, such as ``string | null`` or ``array of Error``."""
    match schema:
        case {"$ref": str(reference)}:
            return reference.removeprefix(SCHEMA_PREFIX)
        case {"anyOf": [*options]} | {"oneOf": [*options]}:
            return " | ".join(map(type_text, options))
        case {"enum": [*values]}:
            return " | ".join(json.dumps(each) for each in values)
        case {"type": "array", "prefixItems": [*items]}:
            return f"[{', '.join(map(type_text, items))}]"
        case {"type": "array"}:
            return f"array of {type_text(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    text = kinds if isinstance(kinds, str) else " | ".join(kinds)
    return f"{text}, {schema['format']}" if "format" in schema else text


def call_text(path: str, method: str, operation: Node) -> str:
    """Return an example of a call as a command line of curl."""
    given = [each for each in operation["parameters"] if "example" in each]
    in_path = {each["name"]: quote(each["example"]) for each in given if each["in"] == "path"}
    # One filter is enough to show how they are given.
    query = urlencode(
        [(each["name"], each["example"]) for each in given if each["in"] == "query"][:1]
    )
    url = f"$CONSOLE{ROOT}{path.format(**in_path)}" + (f"?{query}" if query else "")
    parts = ["curl", '-H "Authorization: Bearer $TOKEN"', f'"{url}"']
    if "requestBody" in operation:
        content_type, body = next(iter(operation["requestBody"]["content"].items()))
        text = shlex.quote(json.dumps(body["example"], ensure_ascii=False))
        parts[1:1] = [f"-X {method.upper()}", f"-H 'Content-Type: {content_type}'", f"-d {text}"]
    return " \\\n  ".join([" ".join(parts[:2]), *parts[2:]])


def _resolve(node: Node, document: Node) -> Node:
    if "$ref" not in node:
        return node
    found: Any = document
    for key in node["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return dict(found)


def _only(content: Mapping[str, Node]) -> Node:
    return next(iter(content.values()))
