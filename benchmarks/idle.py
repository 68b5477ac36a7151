"""Memory and CPU of an idle `clipmill up`.

RSS counts shared memory once per process, PSS once for all.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

SETTLE_SECONDS = 15
MEASURE_SECONDS = 30
MEBIBYTE = 2**20


def _processes(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _is_kafka(process: psutil.Process) -> bool:
    return "java" in process.name()


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _memory(processes: list[psutil.Process]) -> str:
    infos = [process.memory_full_info() for process in processes]
    rss = sum(info.rss for info in infos) / MEBIBYTE
    pss = sum(info.pss for info in infos) / MEBIBYTE
    return f"RSS {rss:6.0f} MB   PSS {pss:6.0f} MB"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        clipmill = str(Path(sys.executable).parent / "clipmill")
        up = await asyncio.create_subprocess_exec(
            clipmill,
            "up",
            "--data-dir",
            directory,
            "--http",
            "127.0.0.1:0",
            stdout=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        try:
            assert up.stdout is not None
            assert json.loads(await up.stdout.readline())["ready"]
            await asyncio.sleep(SETTLE_SECONDS)
            await _measure(up.pid)
        finally:
            up.terminate()
            await up.wait()


async def _measure(pid: int) -> None:
    processes = _processes(pid)
    groups = {
        "Python": [process for process in processes if not _is_kafka(process)],
        "Kafka": [process for process in processes if _is_kafka(process)],
    }
    before = {name: _cpu(group) for name, group in groups.items()}
    started = time.perf_counter()
    await asyncio.sleep(MEASURE_SECONDS)
    seconds = time.perf_counter() - started
    for name, group in groups.items():
        share = (_cpu(group) - before[name]) / seconds
        print(f"{name:7} {len(group)} processes   {_memory(group)}   CPU {share:6.2%} of a core")


if __name__ == "__main__":
    asyncio.run(main())
