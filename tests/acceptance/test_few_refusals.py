"""A platform that answers some requests with 429 although it is asked no more than it bears."""

import asyncio
import time
from pathlib import Path

from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.signals import RATE, RateState
from streams.topics import SIGNALS
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import parked_ids
from tests.house import House
from tests.standin import video_id

REQUESTS = 500
REFUSED_EVERY = 70
"""1.4 % are refused once."""


async def test_a_few_refusals_slow_nothing_down(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        await house.start_worker("all")
        desk = Desk(house)
        refused = {f"r-{each}" for each in range(0, REQUESTS, REFUSED_EVERY)}
        requests = []
        for each in range(REQUESTS):
            name = f"r-{each}"
            scenario = ("page.429", 1) if name in refused else ("kilobytes", 0)
            video = video_id(scenario[0], param=16, times=scenario[1], serial=each)
            requests.append({"id": name, "url": page(video), "action": "info"})
        began = time.monotonic()
        await asyncio.gather(*map(house.publish, requests))
        names = [str(request["id"]) for request in requests]
        await desk.wait_for(names, 60)
        seconds = time.monotonic() - began
        results = await house.read_results(0)
        print(f"\n{len(refused)} of {REQUESTS} refused once: all done after {seconds:.1f} s")
        assert {results[name][0]["status"] for name in names} == {"completed"}
        assert {name for name in names if results[name][0]["attempts"] == 2} == refused
        assert not await parked_ids(desk)
        assert ErrorCode.RATE_LIMIT_API not in await cuts(desk)


async def cuts(desk: Desk) -> set[ErrorCode | None]:
    """Return what rates were cut for; a busy machine that answers slowly is a reason too."""
    records = [each for each in await desk.records(SIGNALS) if each.key.startswith(RATE.encode())]
    return {decode(each.value, RateState).reason for each in records if each.value}
