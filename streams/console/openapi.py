"""The OpenAPI 3.1 document of the API."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from schemas.codec import decode, encode
from schemas.contract.components import REFERENCE, message_schemas
from schemas.contract.descriptions import describe, structs_of
from schemas.contract.json_schema import DIALECT, REQUEST, refine
from streams.console.access import SESSION_COOKIE
from streams.console.routes import Body, Parameter, RouteOperation


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong with a call.

    Attributes:
        field: the parameter, header or service that it concerns.
        message: the cause, and what the caller can do.
    """

    field: str
    message: str


class Error(msgspec.Struct, frozen=True):
    """The body of every error."""

    error: ErrorDetail


_CAUSES = {
    400: "A parameter or the body is malformed or unknown.",
    401: "The caller is not logged in.",
    403: "The host, the origin or the caller is not permitted, or the console is read-only.",
    404: "There is nothing of this id.",
    408: "The body did not arrive in time.",
    409: "The state of the object does not permit it.",
    413: "The body is too large.",
    415: "The content type of the body is not one of those listed.",
    503: "The history or Kafka is not available.",
}

_DESCRIPTION = """\
The HTTP API of `clipmill console`. Changes are published to Kafka and acknowledged with 202; \
their effect appears in the history. Times are RFC 3339 in UTC. Without `console.token` and \
`console.user_header`, calls from this host need no authentication. Every error has the same body, \
whose `field` names what it concerns. Further fields may be added to responses."""


def openapi(operations: Iterable[RouteOperation]) -> dict[str, Any]:
    """Return the document; its server is relative to the address that serves it."""
    operations = tuple(operations)
    document = {
        "openapi": "3.1.1",
        "info": {
            "title": "clipmill",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": "../v1"}],
        "security": [{}, {"bearer": []}, {"session": []}],
        "paths": _paths(operations),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
            "responses": _errors(operations),
            "schemas": _schemas(operations),
        },
    }
    # As JSON: msgspec's schemas have tuples.
    return decode(encode(document), dict[str, Any])


def _paths(operations: Iterable[RouteOperation]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return paths


def _operation(operation: RouteOperation) -> dict[str, Any]:
    body = {} if operation.body is None else {"requestBody": _body(operation.body)}
    content = {"schema": _reference(operation.response), "example": operation.example}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(each, operation.path) for each in operation.parameters],
        **body,
        "responses": {
            str(operation.status): {
                "description": HTTPStatus(operation.status).phrase,
                "content": {operation.content_type: content},
            },
            **{
                str(status): {"$ref": f"#/components/responses/{_error_name(status)}"}
                for status in sorted(operation.errors)
            },
        },
    }


def _parameter(parameter: Parameter, path: str) -> dict[str, Any]:
    in_path = f"{{{parameter.name}}}" in path
    example = {} if parameter.example is None else {"example": parameter.example}
    return {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": parameter.description,
        "schema": dict(parameter.schema),
        **example,
    }


def _body(body: Body) -> dict[str, Any]:
    content = {name: {"schema": _reference(kind)} for name, kind in body.content.items()}
    content[next(iter(content))]["example"] = body.example
    return {"required": body.required, "content": content}


def _error_name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _errors(operations: Iterable[RouteOperation]) -> dict[str, Any]:
    used = sorted({status for each in operations for status in each.errors})
    return {_error_name(status): _error(_CAUSES[status]) for status in used}


def _error(cause: str) -> dict[str, Any]:
    return {
        "description": cause,
        "content": {"application/json": {"schema": _reference(Error)}},
    }


def _reference(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a declared type: a reference for a struct."""
    return kind if isinstance(kind, dict) else {"$ref": f"{REFERENCE}{kind.__name__}"}


def _schemas(operations: Iterable[RouteOperation]) -> dict[str, Any]:
    kinds: dict[str, Any] = {Error.__name__: Error}
    for each in operations:
        bodies = () if each.body is None else each.body.content.values()
        for kind in (each.response, *bodies):
            if not isinstance(kind, dict):
                kinds[kind.__name__] = kind
    _, schemas = msgspec.json.schema_components(
        list(kinds.values()), ref_template=f"{REFERENCE}{{name}}"
    )
    structs = {name: it for kind in kinds.values() for name, it in structs_of(kind).items()}
    for name, struct in structs.items():
        describe(schemas[name], struct)
    return dict(sorted((message_schemas([REQUEST]) | refine(schemas)).items()))
