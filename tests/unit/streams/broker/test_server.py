import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streams.broker.server import Launch, java_environment, terminate
from streams.file_lock import FileLock

IGNORE_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(60)"
)


@asynccontextmanager
async def python_process(program: str) -> AsyncIterator[asyncio.subprocess.Process]:
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


async def exit_code_of(launch: Launch, output: Path, *main: str) -> int:
    with output.open("wb") as file:
        process = await launch.run(file.fileno(), *main)
        return await process.wait()


async def test_process_exits_on_sigterm() -> None:
    async with python_process("print('up', flush=True); import time; time.sleep(60)") as process:
        assert await terminate(process) == -signal.SIGTERM


async def test_process_that_ignores_sigterm_is_killed() -> None:
    async with python_process(IGNORE_SIGTERM) as process:
        assert await terminate(process, grace_seconds=0.05) == -signal.SIGKILL


async def test_terminate_returns_the_exit_code_of_an_exited_process() -> None:
    async with python_process("raise SystemExit(3)") as process:
        await process.wait()
        assert await terminate(process, grace_seconds=0) == 3


async def test_cancelled_termination_kills_the_process() -> None:
    async with python_process(IGNORE_SIGTERM) as process:
        termination = asyncio.create_task(terminate(process))
        await asyncio.sleep(0.05)
        termination.cancel()
        with pytest.raises(asyncio.CancelledError):
            await termination
        assert await process.wait() == -signal.SIGKILL


async def test_program_runs_in_its_directory_and_session_without_stdin(
    tmp_path: Path, output: Path
) -> None:
    program = "import os; print(os.getcwd(), os.getsid(0) == os.getpid(), os.read(0, 1))"
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    launch = Launch([sys.executable], tmp_path, lock.descriptor)
    assert await exit_code_of(launch, output, "-c", program) == 0
    assert await asyncio.to_thread(output.read_text) == f"{tmp_path} True b''\n"
    lock.release()


async def test_program_holds_the_lock_until_it_exits(tmp_path: Path, output: Path) -> None:
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
def test_java_option_variables_are_removed_from_the_environment(name: str) -> None:
    assert name not in java_environment({name: "-Xmx8g", "PATH": "/bin"})


def test_other_environment_variables_are_kept() -> None:
    assert java_environment({"PATH": "/bin"})["PATH"] == "/bin"
    assert java_environment({"MALLOC_ARENA_MAX": "9"})["MALLOC_ARENA_MAX"] == "9"
