"""A platform that answers some requests with 429 although the rate is below its limit."""

import asyncio
import time
from pathlib import Path

from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.signals import RATE, RateState
from streams.topics import SIGNALS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import parked_ids
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

REQUESTS = 500
REFUSED_EVERY = 70
"""1.4 % are answered 429 once."""


async def test_few_rate_limited_requests_do_not_reduce_the_rate(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        limited = {f"r-{each}" for each in range(0, REQUESTS, REFUSED_EVERY)}
        requests = []
        for each in range(REQUESTS):
            name = f"r-{each}"
            scenario = ("page.429", 1) if name in limited else ("kilobytes", 0)
            video = video_id(scenario[0], param=16, times=scenario[1], serial=each)
            requests.append({"id": name, "url": page(video), "action": "info"})
        began = time.monotonic()
        await asyncio.gather(*map(pipeline.publish, requests))
        names = [str(request["id"]) for request in requests]
        await client.wait_for(names, 60)
        seconds = time.monotonic() - began
        results = await pipeline.read_results(0)
        print(f"\n{len(limited)} of {REQUESTS} refused once: all done after {seconds:.1f} s")
        assert {results[name][0]["status"] for name in names} == {"completed"}
        assert {name for name in names if results[name][0]["attempts"] == 2} == limited
        assert not await parked_ids(client)
        assert ErrorCode.RATE_LIMIT_API not in await reduction_reasons(client)


async def reduction_reasons(client: PipelineClient) -> set[ErrorCode | None]:
    """Return the reasons of rate reductions; a busy machine that answers slowly causes them too."""
    records = [each for each in await client.records(SIGNALS) if each.key.startswith(RATE.encode())]
    return {decode(each.value, RateState).reason for each in records if each.value}
