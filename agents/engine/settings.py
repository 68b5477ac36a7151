"""How many engine processes, and what each of them may use."""

import os
from pathlib import Path

import msgspec

MEBIBYTE = 1024 * 1024


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the engine.

    Attributes:
        processes: worker processes. Extraction is bound by the CPU, so one per core.
        threads_per_process: extractions under way at once in one process; while one waits for
            the network another one works. Of 400 ms of the network, 32 make 57 extractions a
            second of one process, and 1.1 MB each: see ``docs/engine.md``.
        page_bytes_max: bytes of one response after decoding; a larger one is a failure.
        request_timeout_seconds: total time of one HTTP request with its redirects.
        kill_grace_seconds: time behind a job's deadline after which its process is killed.
        hang_seconds: time without an answer after which a process is killed that has jobs. None of
            its threads runs then: native code has the interpreter's lock, or it was stopped.
        memory_bytes_max: private memory (RLIMIT_DATA) of one process. The address space is no
            measure: allocator arenas and thread stacks reserve far more of it than they use. A
            process that has no memory left is replaced.
        jobs_per_process_max: jobs after which a process is replaced, in case something leaks.
        start_timeout_seconds: time for a process to become ready, imports included.
        preload: dotted names ``package.module:Class`` of extractors to import beforehand. Others
            work too, and cost their import once per process.
        packages_dir: folder with another yt-dlp, which the processes import from first.
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
