"""Interface of the extraction engine: jobs, results, failures, settings and statistics."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from agents.engine.javascript_support import DISABLED, JavaScriptSupport
from agents.network.egress import DIRECT
from schemas.video import Cookie, EngineVersions

YT_DLP = "yt-dlp"
"""Prefix for yt-dlp's own extractors, in place of a module."""


class EngineJob(msgspec.Struct, frozen=True, kw_only=True):
    """One extraction.

    Attributes:
        url: canonical page URL.
        extractor: dotted name ``package.module:Class`` of the yt-dlp extractor class to use, or
            `YT_DLP`, a colon and the names of yt-dlp's own extractors, with commas between them.
        deadline_seconds: wall time of the whole extraction; the process is killed after it.
        cookies: sent with its requests.
        egress: name of the egress.
        entries_max: entries of a playlist to read; pages beyond them are not requested. None: no
            playlist is expected.
        subtitles: also extract those, which may need requests of its own; otherwise the result has
            none.
    """

    url: str
    extractor: str
    deadline_seconds: float = 30.0
    cookies: tuple[Cookie, ...] = ()
    egress: str = DIRECT
    entries_max: int | None = None
    subtitles: bool = False


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """The extractor's info dictionary as JSON, and the cookies that its pages set."""

    raw: msgspec.Raw
    cookies: tuple[Cookie, ...]
    versions: EngineVersions


class EngineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed extraction as plain data, to be sent between processes and stored as a sample.

    Attributes:
        types: class names of the exception and its causes, outermost first.
        message: text of the outermost error that the extractor recognized, else of its innermost
            one, without colour codes.
        status: HTTP status, if any.
        retry_after: the ``Retry-After`` header, unparsed.
        errno: of the first OSError in the chain.
        curl_code: libcurl's error number.
        facts: recorded by the extractor, such as TikTok's ``status_code`` and ``status_message``.
    """

    types: tuple[str, ...]
    message: str
    status: int | None = None
    retry_after: str | None = None
    errno: int | None = None
    curl_code: int | None = None
    facts: Mapping[str, str] = {}


class EngineError(Exception):
    """An extraction failed, as described by `failure`.

    The engine's own failures have a single type: ``EngineTimeout`` (deadline exceeded),
    ``EngineCrash`` (its process was lost, on the retry with no other job in it), ``EngineClosed``
    (the engine is not running), ``JobTooLarge`` (with its cookies it exceeds a frame). In a longer
    chain of types, ``PageTooLargeError`` is a response over the limit and ``AddressRefusedError``
    an address that is not public.
    """

    def __init__(self, failure: EngineFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Extractor(Protocol):
    """Runs yt-dlp's extractors isolated from the caller."""

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run a job.

        Raises:
            EngineError: the extractor failed, or its process died or was killed.
        """
        ...


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
