"""Settings of the engine pool: number of processes, and limits of each."""

import os
from pathlib import Path

import msgspec

MEBIBYTE = 1024 * 1024


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Size and limits of the engine.

    Attributes:
        processes: worker processes; extraction is CPU-bound, so one per core.
        threads_per_process: concurrent extractions in one process; one computes while others wait
            for the network. With 400 ms of network time, 32 threads reach 57 extractions a second
            per process, at 1.1 MB each: see ``docs/engine.md``.
        page_bytes_max: size of one response after decoding; a larger one fails.
        request_timeout_seconds: total time of one HTTP request with its redirects.
        kill_grace_seconds: time after a job's deadline at which its process is killed.
        hang_seconds: heartbeat timeout, after which a process with jobs is killed. None of its
            threads runs then: native code holds the GIL, or the process was stopped.
        memory_bytes_max: private memory (RLIMIT_DATA) of one process. Not the address space, of
            which allocator arenas and thread stacks reserve far more than they use. A process
            that runs out of memory is replaced.
        jobs_per_process_max: jobs after which a process is replaced, as a bound on leaks.
        start_timeout_seconds: time for a process to become ready, imports included.
        preload: dotted names ``package.module:Class`` of extractors imported before the first
            fork. Others work too, at the cost of one import per process.
        packages_dir: folder with another yt-dlp; first entry of the import path.
        javascript: whether programs of pages are run, in a sandboxed process each.
    """

    processes: int = msgspec.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    threads_per_process: int = 32
    page_bytes_max: int = 8 * MEBIBYTE
    request_timeout_seconds: float = 15.0
    kill_grace_seconds: float = 2.0
    hang_seconds: float = 10.0
    memory_bytes_max: int = 1024 * MEBIBYTE
    jobs_per_process_max: int = 5_000
    start_timeout_seconds: float = 30.0
    preload: tuple[str, ...] = ()
    packages_dir: Path | None = None
    javascript: bool = True
