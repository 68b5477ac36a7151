"""Operations that return the documents of the interfaces."""

from typing import Any

from streams.console.api.operations import Operation

_DOCUMENT: dict[str, Any] = {"type": "object"}

OPERATIONS = (
    Operation(
        method="get",
        path="/openapi.json",
        name="openapi",
        summary="Return this document.",
        response=_DOCUMENT,
        example={"openapi": "3.1.1"},
        errors=(401, 403),
    ),
    Operation(
        method="get",
        path="/asyncapi.json",
        name="asyncapi",
        summary="Return the AsyncAPI document of the topics.",
        response=_DOCUMENT,
        example={"asyncapi": "3.0.0"},
        errors=(401, 403),
    ),
)
