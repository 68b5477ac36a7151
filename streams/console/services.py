"""What the handlers of the console use."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from streams.client import RequestProducer
from streams.cluster.shared_state import SharedState
from streams.console.dead_letters import DeadLetters
from streams.console.download_progress import DownloadProgress
from streams.console.health.lag import LagReader
from streams.console.jobs.store import JobStore
from streams.console.pipeline import Pipeline
from streams.history.store import HistoryStore
from streams.settings import Settings
from streams.stage import Stage


@dataclass(frozen=True)
class Services:
    """The parts of a running console.

    Attributes:
        store: history of requests, which another task fills.
        jobs: bulk commands, which another task runs.
        producer: publishes requests and commands.
        shared_state: breakers, rates and paused stages.
        dead_letters: those of the cluster; another task fills their index.
        pipeline: topics, stages and workers.
        stages: the installed ones.
        lag: of these stages.
        progress: of downloads; another task fills it.
        orders_problem: why the history has no orders of users; None when it has them.
    """

    settings: Settings
    store: HistoryStore
    jobs: JobStore
    producer: RequestProducer
    shared_state: SharedState
    dead_letters: DeadLetters
    pipeline: Pipeline
    stages: Sequence[Stage]
    lag: LagReader
    progress: DownloadProgress
    orders_problem: str | None = None


SERVICES = web.AppKey("services", Services)
