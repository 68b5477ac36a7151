"""What the engine tells about itself."""

from typing import Any

import msgspec

from schemas.video import EngineVersions


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """The engine at one moment; the counters are since the pool was made.

    Attributes:
        processes_wanted: processes that there should be.
        processes_alive: processes that take jobs.
        pids: all worker processes, also those that finish their last jobs.
        fork_server_pid: None when it is not running.
        jobs_in_flight: jobs in processes.
        jobs_waiting: jobs that no process was free for.
        kills: processes killed because a job overstayed its deadline, or because they answered no
            more.
        crashes: processes that ended by themselves or were killed by others.
        recycled: processes replaced after their share of jobs.
        restarts: processes started in place of another, for any of these reasons.
        start_failures: processes that did not become ready.
        versions: what the processes run; None before the first one was ready.
        impersonation: whether requests can look like a browser's.
        native_proof_of_work: whether challenges are solved by the compiled library.
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

    def snapshot(self, **moment: Any) -> EngineStats:
        """Return the counters together with the state of the moment."""
        return EngineStats(**vars(self), **moment)
