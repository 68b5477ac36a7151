"""`clipmill console` as a process beside a pipeline."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.pipeline_process import PipelineProcess

START_SECONDS = 20.0


@asynccontextmanager
async def console_process(pipeline: PipelineProcess, **variables: str) -> AsyncIterator[str]:
    """Run the console with these settings; yields its URL, and kills it at the end."""
    process = await pipeline.start_clipmill("console", "--http", "127.0.0.1:0", **variables)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            ready = json.loads(await process.stdout.readline())
        yield ready["console"]
    finally:
        process.kill()
        await process.wait()
