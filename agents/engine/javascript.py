"""Runs JavaScript of pages for extractors: one program at a time, in a sandboxed process."""

import os
import subprocess
import sys
import threading

from yt_dlp.networking.exceptions import TransportError

from agents.engine.javascript_support import (
    DISABLED,
    SANDBOX_MODULE,
    JavaScriptSupport,
    javascript_support,
)
from agents.engine.request_bounds import Deadline

RUN_SECONDS_MAX = 20.0
"""A player of 2 MB takes one second; an endless program ends before its job does."""

PROGRAM_BYTES_MAX = 32 * 2**20
ERROR_CHARACTERS_MAX = 300

_lock = threading.Lock()
"""One program per process: each takes 280 MB and a core."""


class JavaScriptError(Exception):
    """The program failed, or exceeded a limit."""


class JavaScript:
    """Runs programs for the jobs of one thread.

    Args:
        deadline: of the thread's current job.
        enabled: whether the settings permit it.
    """

    def __init__(self, deadline: Deadline, *, enabled: bool = True) -> None:
        self._deadline = deadline
        self._enabled = enabled

    @property
    def support(self) -> JavaScriptSupport:
        return javascript_support() if self._enabled else DISABLED

    def run(self, program: str) -> str:
        """Return what a program prints.

        Raises:
            JavaScriptError: it failed or exceeded a limit, or JavaScript is not run.
            TransportError: the job's deadline has passed.
        """
        code, deno = program.encode(errors="replace"), self.support.deno
        if deno is None or not self.support.is_available:
            raise JavaScriptError(self.support.summary)
        if len(code) > PROGRAM_BYTES_MAX:
            raise JavaScriptError(f"a program of {len(code)} bytes; the maximum is 32 MiB")
        if not _lock.acquire(timeout=self._deadline.allow(threading.TIMEOUT_MAX)):
            raise TransportError("the deadline of the job has passed before its program's turn")
        try:
            return _run(deno, code, self._deadline.allow(RUN_SECONDS_MAX))
        finally:
            _lock.release()


def _run(deno: str, code: bytes, seconds: float) -> str:
    # Files in memory, not pipes: the kernel bounds what is written to them.
    descriptors = [os.memfd_create(name) for name in ("program", "output", "errors")]
    program, output, errors = descriptors
    try:
        _write(program, code)
        status = _wait(deno, descriptors, seconds)
        if status != 0:
            raise JavaScriptError(_failure(status, _read(errors)))
        return _read(output)
    finally:
        for each in descriptors:
            os.close(each)


def _wait(deno: str, descriptors: list[int], seconds: float) -> int:
    program, output, errors = descriptors
    launcher = ("-P", "-m", SANDBOX_MODULE, str(os.getpid()), deno)
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, *launcher], stdin=program, stdout=output, stderr=errors
    ) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise JavaScriptError(f"the program took longer than {seconds:.0f} s") from None
        finally:
            process.kill()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


def _read(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")


def _failure(status: int, errors: str) -> str:
    # The first one of Deno, and the last one of a launcher that could not start it.
    lines = [line for line in errors.splitlines() if line.strip(" #")] or ["without a reason"]
    reason = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return f"the program failed with status {status}: {reason[:ERROR_CHARACTERS_MAX]}"
