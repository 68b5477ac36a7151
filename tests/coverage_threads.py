"""A coverage plugin: threads install their trace function one at a time.

CPython refuses `sys.settrace` while another thread is inside it ("Cannot install a trace function
while another trace function is being installed"). It is left in the middle whenever the audit
event that it raises has a hook in Python: ours are the guards of `tests.conftest` and
`agents.network.guard`. coverage installs its tracer in every thread that starts, so a start
returns only when the first line of the thread's `run` is reached.
"""

import threading
from typing import Any

_STARTING = threading.Lock()

REACHED_SECONDS = 10.0
"""Longest wait for a thread's first line. One that fails before it must not block its starter."""


def _run_traced(thread: threading.Thread, installed: threading.Event) -> None:
    run = thread.run

    def reached() -> None:
        del thread.run  # the override refers to the thread: a cycle
        installed.set()
        run()

    thread.run = reached  # type: ignore[method-assign]


def serialize_starts() -> None:
    """Make `Thread.start` return once the new thread is being traced."""
    start = threading.Thread.start

    def start_traced(self: threading.Thread) -> None:
        installed = threading.Event()
        _run_traced(self, installed)
        with _STARTING:
            start(self)
            installed.wait(REACHED_SECONDS)

    threading.Thread.start = start_traced  # type: ignore[method-assign]


def coverage_init(_registry: Any, _options: dict[str, Any]) -> None:
    """Be loaded by coverage, in each process that it measures."""
    serialize_starts()
