"""Statistics of the engine, for metrics and the health page."""

from typing import Any

import msgspec

from agents.engine.javascript_support import DISABLED, JavaScriptSupport
from schemas.video import EngineVersions


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """Snapshot of the engine; counters start with the pool.

    Attributes:
        processes_wanted: configured number of processes.
        processes_alive: processes that accept jobs.
        pids: all worker processes, draining and quarantine ones included.
        fork_server_pid: None when it is not running.
        jobs_in_flight: jobs assigned to processes.
        jobs_waiting: jobs in the queue.
        kills: processes killed after a job's deadline or a heartbeat timeout.
        crashes: processes that ended by themselves or were killed from outside.
        recycled: processes replaced after ``jobs_per_process_max`` jobs.
        restarts: processes started as a replacement, for any of these reasons.
        start_failures: processes that did not become ready.
        versions: of the processes' libraries; None before the first process was ready.
        impersonation: whether requests can impersonate a browser.
        native_proof_of_work: whether challenges are solved by the compiled library.
        javascript: what runs the programs of pages, or why none does.
    """

    processes_wanted: int
    processes_alive: int
    pids: tuple[int, ...]
    fork_server_pid: int | None
    jobs_in_flight: int
    jobs_waiting: int
    kills: int
    crashes: int
    recycled: int
    restarts: int
    start_failures: int
    versions: EngineVersions | None
    impersonation: bool
    native_proof_of_work: bool = False
    javascript: JavaScriptSupport = DISABLED


class Counters:
    """The counters behind `EngineStats`."""

    def __init__(self) -> None:
        self.kills = 0
        self.crashes = 0
        self.recycled = 0
        self.restarts = 0
        self.start_failures = 0
        self.versions: EngineVersions | None = None
        self.impersonation = False
        self.native_proof_of_work = False
        self.javascript = DISABLED

    def snapshot(self, **gauges: Any) -> EngineStats:
        """Return the counters together with the current gauges."""
        return EngineStats(**vars(self), **gauges)
