"""Replays of dead letters as jobs: one at a time, with its progress."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from streams.console.errors import CallError
from streams.deadletters import operations
from streams.deadletters.plan import ReplayPlan, Totals
from streams.errors import OperatorError
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)


ReplayFunction = Callable[
    [KafkaSettings, ReplayPlan, float, Callable[[Totals], object], Callable[[], object]],
    Awaitable[Totals],
]
"""Has the parameters of `operations.replay`."""


@dataclass(slots=True)
class ReplayJob:
    """A replay and its progress.

    Attributes:
        expected: number that the dry run before it has selected.
        by: user.
        error: why it has failed.
    """

    expected: int
    by: str
    started_at: datetime
    state: Literal["running", "finished", "failed"] = "running"
    totals: Totals = field(default_factory=Totals)
    ended_at: datetime | None = None
    error: str | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "state": self.state,
            "by": self.by,
            "expected": self.expected,
            "replayed": self.totals.replayed,
            "skipped": dict(self.totals.skipped),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "error": self.error,
        }


class ReplayJobs:
    """The replays that this process has started.

    Attributes:
        latest: the running one, else the last one, None before the first.
    """

    def __init__(self, kafka: KafkaSettings, replay: ReplayFunction = operations.replay) -> None:
        self._kafka = kafka
        self._replay = replay
        self._task: asyncio.Task[None] | None = None
        self.latest: ReplayJob | None = None

    async def start(self, plan: ReplayPlan, rate: float, expected: int) -> ReplayJob:
        """Start a replay; return when it has begun.

        Raises:
            CallError: one is running.
            MissingAclError: an ACL is missing.
            ClusterUnavailableError: no broker answers, or a topic is missing.
        """
        self.check_idle()
        before = self.latest
        job = self.latest = ReplayJob(expected, plan.by, datetime.now(UTC))
        begun = asyncio.Event()
        self._task = asyncio.create_task(self._run(job, plan, rate, begun))
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done() and (error := self._task.exception()) is not None:
            self.latest = before
            raise error
        return job

    def check_idle(self) -> None:
        """Reject a further replay while one is running.

        Raises:
            CallError: 409.
        """
        if self.latest is not None and self.latest.state == "running":
            raise CallError(
                409,
                "replay",
                f"a replay of {self.latest.by} is running: {self.latest.totals.replayed} of "
                f"{self.latest.expected} replayed; only one replay can run at a time",
            )

    async def aclose(self) -> None:
        """Cancel a running replay; the other dead letters stay as they are."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, OperatorError):
                await self._task

    async def _run(
        self, job: ReplayJob, plan: ReplayPlan, rate: float, begun: asyncio.Event
    ) -> None:
        def progress(totals: Totals) -> None:
            job.totals = totals

        try:
            job.totals = await self._replay(self._kafka, plan, rate, progress, begun.set)
            job.state = "finished"
        except OperatorError as error:
            job.state, job.error = "failed", str(error)
            if not begun.is_set():
                raise
        except Exception:
            job.state, job.error = "failed", "an internal error; the log of the console has it"
            log.exception("a replay of dead letters has failed")
        finally:
            job.ended_at = datetime.now(UTC)
