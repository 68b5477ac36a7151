"""Samples the processes of a soak: the worker, its children, Kafka, the stand-in and the load."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from benchmarks.soaking.series import MEBIBYTE, Sample, Series

FORK_SERVER = "agents.engine.forkserver"


class ProcessSampler:
    """Collects a series of samples of every process.

    Args:
        worker: process id of the worker.
        others: process ids by name, such as Kafka's.
    """

    def __init__(self, worker: int, others: dict[str, int]) -> None:
        self._worker = psutil.Process(worker)
        self._others = {name: psutil.Process(pid) for name, pid in others.items()}
        self._began = time.monotonic()
        self._series: dict[int, Series] = {}
        self._engines = 0

    @property
    def series(self) -> list[Series]:
        """The series of all processes, including ended ones."""
        return list(self._series.values())

    async def run(self, seconds: float) -> None:
        """Sample at an interval until cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(seconds)

    def sample(self) -> None:
        """Add a sample of every process."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                self._sample_process(process)

    def _processes(self) -> Iterator[psutil.Process]:
        yield self._worker
        with suppress(psutil.NoSuchProcess):
            yield from self._worker.children(recursive=True)
        yield from self._others.values()

    def ended(self) -> list[str]:
        """Return the names of processes that ended early."""
        lasting = {"worker": self._worker, **self._others}
        return [name for name, process in lasting.items() if not _is_running(process)]

    def _sample_process(self, process: psutil.Process) -> None:
        if not _is_running(process):
            return
        with process.oneshot():
            full = process.memory_full_info()
            cpu = process.cpu_times()
            taken = Sample(
                time.monotonic() - self._began,
                cpu.user + cpu.system,
                full.rss / MEBIBYTE,
                full.uss / MEBIBYTE,
                process.num_fds(),
                process.num_threads(),
            )
        if process.pid not in self._series:
            self._series[process.pid] = Series(self._name(process))
        self._series[process.pid].add(taken)

    def _name(self, process: psutil.Process) -> str:
        for name, other in self._others.items():
            if process.pid == other.pid:
                return name
        if process.pid == self._worker.pid:
            return "worker"
        if FORK_SERVER not in process.cmdline():
            return process.name()
        if process.ppid() == self._worker.pid:
            return "fork server"
        self._engines += 1
        return f"engine {self._engines}"


def _is_running(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
