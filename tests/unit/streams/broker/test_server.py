import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streams.broker.server import Launch, end, java_environment
from streams.file_lock import FileLock

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(60)"
)


@asynccontextmanager
async def python(program: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    yield process
    assert process.returncode is not None


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


async def run(launch: Launch, output: Path, *main: str) -> int:
    with output.open("wb") as file:
        process = await launch.run(file.fileno(), *main)
        return await process.wait()


async def test_a_process_ends_at_sigterm() -> None:
    async with python("print('up', flush=True); import time; time.sleep(60)") as process:
        assert await end(process) == -signal.SIGTERM


async def test_a_stubborn_process_is_killed() -> None:
    async with python(STUBBORN) as process:
        assert await end(process, grace_seconds=0.05) == -signal.SIGKILL


async def test_a_dead_process_tells_its_code() -> None:
    async with python("raise SystemExit(3)") as process:
        await process.wait()
        assert await end(process, grace_seconds=0) == 3


async def test_a_cancelled_end_kills() -> None:
    async with python(STUBBORN) as process:
        ending = asyncio.create_task(end(process))
        await asyncio.sleep(0.05)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert await process.wait() == -signal.SIGKILL


async def test_the_program_runs_in_its_directory_session_and_without_input(
    tmp_path: Path, output: Path
) -> None:
    program = "import os; print(os.getcwd(), os.getsid(0) == os.getpid(), os.read(0, 1))"
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    launch = Launch([sys.executable], tmp_path, lock.descriptor)
    assert await run(launch, output, "-c", program) == 0
    assert await asyncio.to_thread(output.read_text) == f"{tmp_path} True b''\n"
    lock.release()


async def test_the_program_holds_the_lock_until_it_ends(tmp_path: Path, output: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    with output.open("wb") as file:
        process = await Launch(["/bin/sleep"], tmp_path, lock.descriptor).run(file.fileno(), "60")
    lock.release()
    assert not lock.try_acquire()
    process.kill()
    await process.wait()
    deadline = time.monotonic() + 5
    while not lock.try_acquire():
        assert time.monotonic() < deadline
    lock.release()


@pytest.mark.parametrize("name", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"])
def test_options_for_other_java_programs_do_not_reach_kafka(name: str) -> None:
    assert name not in java_environment({name: "-Xmx8g", "PATH": "/bin"})


def test_the_rest_of_the_environment_stays() -> None:
    assert java_environment({"PATH": "/bin"})["PATH"] == "/bin"
    assert java_environment({"MALLOC_ARENA_MAX": "9"})["MALLOC_ARENA_MAX"] == "9"
