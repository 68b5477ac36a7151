"""Fixtures of a pipeline per module: stand-in, broker and a worker of all stages."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.client import PipelineClient
from tests.pipeline_process import PipelineProcess


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    """One worker of all stages, shared by the tests of a module."""
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline")) as pipeline:
        await pipeline.start_worker("all")
        yield pipeline


@pytest.fixture(scope="module")
def client(pipeline: PipelineProcess) -> PipelineClient:
    return PipelineClient(pipeline)
