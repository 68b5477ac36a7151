"""A stage with a test's handler, and helpers that run it on the session's broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streams.cluster.producer import ReliableProducer
from streams.records import Effect, Incoming, Outgoing
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import Settings, StageSettings
from streams.stage import Handler, Stage, StageContext
from streams.topics import ERRORS, REQUESTS, RESULTS

Handle = Callable[[Incoming], Awaitable[Sequence[Effect]]]


class ToyStage:
    """A stage with a test's handler; records the consumed records."""

    def __init__(self, handle: Handle, *, table: bool = False, drains: bool = False) -> None:
        self.handle = handle
        self.seen: list[Incoming] = []
        self.context: StageContext | None = None
        self.closed = 0
        self.stage = Stage(
            "toy",
            (REQUESTS,),
            open=self.open,
            on_bug=lambda record, error: [
                Outgoing(ERRORS, record.key, f"{record.position} {error!r}".encode())
            ],
            tables=("rows",) if table else (),
            drains=drains,
        )

    @asynccontextmanager
    async def open(self, context: StageContext) -> AsyncIterator[Handler]:
        self.context = context

        async def recording(record: Incoming) -> Sequence[Effect]:
            self.seen.append(record)
            return await self.handle(record)

        yield recording
        self.closed += 1


@asynccontextmanager
async def running_stage(
    toy: ToyStage,
    settings: Settings,
    *,
    warn: Callable[[str], object] = lambda _: None,
    **services: Any,
) -> AsyncIterator[StageRunner]:
    async with ReliableProducer(settings.kafka) as producer:
        runner = StageRunner(toy.stage, WorkerServices(settings, producer, **services), warn=warn)
        async with runner:
            async with asyncio.timeout(20):
                await runner.ready.wait()
            yield runner
    assert toy.closed == 1


def with_stage_settings(settings: Settings, **stage: Any) -> Settings:
    return settings.model_copy(update={"stage": StageSettings(**stage)})


def second_process_settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a second process on the same cluster."""
    return settings.model_copy(update={"data_dir": tmp_path / "beside"})


def forwarded(record: Incoming) -> Outgoing:
    return Outgoing(RESULTS, record.key, record.value, record.headers)


def sorted_numbers(records: Sequence[Any]) -> list[int]:
    return sorted(int(record.value) for record in records)
