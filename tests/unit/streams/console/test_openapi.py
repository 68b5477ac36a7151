"""The OpenAPI document is valid, and names exactly the routes of the API."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from streams.console.handlers import OPERATIONS
from streams.console.jobs.store import JobStore
from streams.console.openapi import openapi
from streams.console.routes import ROOT, RouteOperation
from streams.console.server import build_console
from streams.history.store import HistoryStore
from tests.unit.streams.console.consoles import CHANGES, TOKEN, running_console, services

DOCUMENT = openapi(OPERATIONS)

OWN = {"Sec-Fetch-Site": "same-origin"}


def served(directory: Path) -> set[tuple[str, str]]:
    """Return path and method of every route of the API."""
    with (
        HistoryStore(directory / "history.db") as store,
        JobStore(directory / "console.db") as jobs,
    ):
        routes = build_console(services(store, jobs)).router.routes()
        return {
            (route.resource.canonical.removeprefix(ROOT), route.method.lower())
            for route in routes
            if route.resource is not None and route.resource.canonical.startswith(ROOT)
        }


def test_document_is_valid_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_route_is_declared_and_every_declaration_is_served(tmp_path: Path) -> None:
    declared = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    # aiohttp answers HEAD wherever it answers GET.
    assert declared == {each for each in served(tmp_path) if each[1] != "head"}


def test_names_of_operations_are_unique() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


def test_no_path_matches_the_template_of_another() -> None:
    templates = {each: re.sub(r"\{\w+\}", "[^/]+", each) for each in DOCUMENT["paths"]}
    matches = [
        (path, other)
        for path in templates
        for other, pattern in templates.items()
        if path != other and re.fullmatch(pattern, path)
    ]
    assert matches == []


def resolved(schema: object) -> Draft202012Validator:
    return Draft202012Validator(
        {"components": DOCUMENT["components"], "allOf": [schema]},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_examples_are_valid(operation: RouteOperation) -> None:
    found = DOCUMENT["paths"][operation.path][operation.method]
    success = found["responses"][str(operation.status)]["content"][operation.content_type]
    resolved(success["schema"]).validate(success["example"])
    if operation.body is not None:
        body = next(iter(found["requestBody"]["content"].values()))
        resolved(body["schema"]).validate(body["example"])
    for parameter in found["parameters"]:
        if "example" in parameter:
            resolved(parameter["schema"]).validate(parameter["example"])


@pytest.mark.parametrize("path", ["requests", "requests/done", "counts"])
async def test_response_conforms(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        body = await (await client.get(f"{ROOT}/{path}")).json()
    template = "/requests/{id}" if "/" in path else f"/{path}"
    content = DOCUMENT["paths"][template]["get"]["responses"]["200"]["content"]
    resolved(content["application/json"]["schema"]).validate(body)


def test_body_of_a_retry_has_what_the_server_accepts() -> None:
    properties = DOCUMENT["components"]["schemas"]["RetryBody"]["properties"]
    assert sorted(properties) == ["id", "options"]
    assert properties["id"]["type"] == ["string", "integer"]


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
async def test_documents_are_served(tmp_path: Path, name: str) -> None:
    async with running_console(tmp_path) as client:
        response = await client.get(f"{ROOT}/{name}.json")
        assert response.status == 200
        assert name in await response.json()


async def test_page_shows_every_operation_and_schema(tmp_path: Path) -> None:
    async with running_console(tmp_path, token=TOKEN) as client:
        response = await client.get("/api", headers={"Authorization": f"Bearer {TOKEN}"})
        text = await response.text()
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in text
    for name in DOCUMENT["components"]["schemas"]:
        assert f"<summary>{name}</summary>" in text
    assert "-d &#39;{&#34;options&#34;" in text


@pytest.mark.parametrize("path", DOCUMENT["paths"])
async def test_other_methods_are_answered_with_those_there_are(tmp_path: Path, path: str) -> None:
    declared = {method.upper() for method in DOCUMENT["paths"][path]}
    allowed = declared | ({"HEAD"} if "GET" in declared else set())
    async with running_console(tmp_path, *CHANGES) as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            # "done/cancel" may also be the id of a request to show.
            if method not in declared and (method, "{id}/" in path) != ("GET", True):
                target = f"{ROOT}{path.replace('{id}', 'done').replace('{name}', 'a')}"
                response = await client.request(method, target, headers=OWN)
                assert response.status == 405
                assert set(response.headers["Allow"].split(", ")) >= allowed


WITH_BODY = [each for each in OPERATIONS if each.body is not None]


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda each: each.name)
async def test_other_content_type_is_answered_with_those_there_are(
    tmp_path: Path, operation: RouteOperation
) -> None:
    target = f"{ROOT}{operation.path.replace('{id}', 'done').replace('{name}', 'a')}"
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.request(
            operation.method, target, data=b"x", headers={**OWN, "Content-Type": "image/png"}
        )
        text = await response.text()
    assert response.status == 415
    assert operation.body is not None
    assert all(each in text for each in operation.body.content)
