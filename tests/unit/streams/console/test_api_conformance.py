"""The served API answers generated calls, valid and not, as its OpenAPI document says."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from streams.console.handlers import OPERATIONS
from streams.console.openapi import openapi
from streams.console.routes import ROOT, RouteOperation
from streams.console.server import LINE_BYTES_MAX
from tests.unit.streams.console.consoles import TOKEN
from tests.unit.streams.console.raw_calls import raw_console

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
"""`negative_data_rejection` is not among them: an empty parameter counts as missing, and of a batch
each member is rejected on its own, by its result."""

EXAMPLES = 40
"""Calls of an operation in each mode."""

JSON_OPERATIONS = [each for each in OPERATIONS if each.content_type == "application/json"]
"""All but streams, which do not end."""

SCHEMA = schemathesis.openapi.from_dict(openapi(OPERATIONS))


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console in a thread of its own: the generated calls are made by a blocking client."""
    ready, stopped = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve(directory: Path) -> None:
        async with raw_console(directory, token=TOKEN) as served:
            found.append(str(served.url))
            ready.set()
            await asyncio.to_thread(stopped.wait)

    directory = tmp_path_factory.mktemp("console")
    thread = threading.Thread(target=lambda: asyncio.run(serve(directory)))
    thread.start()
    assert ready.wait(10)
    yield f"{found[0]}{ROOT}"
    stopped.set()
    thread.join()


CASES = [
    pytest.param(each, mode, id=f"{each.name}-{mode.value}")
    for each in JSON_OPERATIONS
    for mode in GenerationMode
    # Any text is valid in a path, so there is nothing to get wrong.
    if mode is GenerationMode.POSITIVE
    or each.body is not None
    or any(f"{{{it.name}}}" not in each.path for it in each.parameters)
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_generated_calls_are_answered_as_documented(
    console: str, operation: RouteOperation, mode: GenerationMode
) -> None:
    strategy = SCHEMA[operation.path][operation.method.upper()].as_strategy(mode)

    @given(strategy)
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: Case[Any]) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        response = case.call(base_url=console, headers=headers)
        # A longer line is refused by the parser, before the API.
        assume(len(response.request.url or "") < LINE_BYTES_MAX)
        case.validate_response(response, checks=CHECKS)

    answered()
