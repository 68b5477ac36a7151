import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certifi
import psutil
import pytest

from agents.engine.fork_client import ForkServer, child_environment
from agents.engine.interface import EngineJob
from agents.engine.protocol import Assignment, JobFinished, ProcessReady, Setup, frame, read_message
from tests.unit.agents.engine.extractors import extractor_path
from tests.unit.agents.engine.processes import alive, until

SETUP = Setup(
    threads=1,
    page_bytes_max=1_000,
    request_timeout_seconds=5,
    memory_bytes_max=2**30,
    proxies={"direct": None},
    ca_file=certifi.where(),
)


@pytest.fixture
async def forks() -> AsyncIterator[ForkServer]:
    server = ForkServer((extractor_path("Echo"),))
    yield server
    await server.close()


class ForkedProcess:
    """A forked process and the connection to it."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    async def ready(self) -> int:
        self.writer.write(frame(SETUP))
        message = await read_message(self.reader)
        assert isinstance(message, ProcessReady)
        return message.pid

    async def echo(self) -> Any:
        job = EngineJob(url="test:1", extractor=extractor_path("Echo"))
        self.writer.write(frame(Assignment(number=1, job=job, seconds=9)))
        message = await read_message(self.reader)
        assert isinstance(message, JobFinished)
        return message.raw

    async def expect_disconnect(self) -> None:
        async with asyncio.timeout(2):
            with pytest.raises((EOFError, ConnectionError)):
                await read_message(self.reader)


async def fork_process(forks: ForkServer) -> ForkedProcess:
    ours, theirs = socket.socketpair()
    with theirs:
        forks.fork(theirs)
    return ForkedProcess(await asyncio.open_unix_connection(sock=ours))


async def close_all(*processes: ForkedProcess) -> None:
    for process in processes:
        process.writer.close()
        await process.writer.wait_closed()


async def has_ended(pid: int) -> bool:
    """Wait until the process does not exist any more, not even as a zombie."""
    await until(lambda: not psutil.pid_exists(pid), seconds=2)
    return True


async def test_forks_processes_that_work(forks: ForkServer) -> None:
    first, second = await fork_process(forks), await fork_process(forks)
    pids = {await first.ready(), await second.ready()}
    assert len(pids) == 2
    assert {psutil.Process(pid).ppid() for pid in pids} == {forks.pid}
    assert b'"id":"test:1"' in await first.echo()
    await close_all(first, second)


async def test_process_ends_when_its_connection_closes(forks: ForkServer) -> None:
    process = await fork_process(forks)
    pid = await process.ready()
    await close_all(process)
    assert await has_ended(pid)


async def test_kills_one_process_only(forks: ForkServer) -> None:
    victim, other = await fork_process(forks), await fork_process(forks)
    pid, other_pid = await victim.ready(), await other.ready()
    forks.kill(pid)
    await victim.expect_disconnect()
    assert await has_ended(pid), "a process that was killed must not stay as a zombie"
    assert psutil.pid_exists(other_pid)
    await close_all(victim, other)


async def test_kill_ignores_processes_it_did_not_fork(forks: ForkServer) -> None:
    process = await fork_process(forks)
    await process.ready()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    forks.kill(stranger.pid)
    assert b"test:1" in await process.echo()
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()
    await close_all(process)


async def test_close_ends_all_processes_soon(forks: ForkServer) -> None:
    process = await fork_process(forks)
    pids = [await process.ready(), forks.pid or 0]
    started = time.monotonic()
    await forks.close()
    await until(lambda: not alive(pids), seconds=2)
    assert time.monotonic() - started < 2
    assert forks.pid is None
    await close_all(process)


async def test_close_kills_an_unresponsive_fork_server(
    forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.engine.fork_client.CLOSE_SECONDS", 0.2)
    process = await fork_process(forks)
    pid, server = await process.ready(), forks.pid or 0
    os.kill(server, signal.SIGSTOP)
    await forks.close()
    await until(lambda: not alive((pid, server)), seconds=2)
    await close_all(process)


async def test_killed_fork_server_ends_its_processes_and_restarts(forks: ForkServer) -> None:
    process = await fork_process(forks)
    await process.ready()
    os.kill(forks.pid or 0, signal.SIGKILL)
    await process.expect_disconnect()
    again = await fork_process(forks)
    assert psutil.pid_exists(await again.ready())
    await close_all(process, again)


async def test_processes_inherit_no_sockets(forks: ForkServer) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.set_inheritable(True)
        process = await fork_process(forks)
        pid = await process.ready()
        for each in (forks.pid or 0, pid):
            assert psutil.Process(each).net_connections() == []
            assert psutil.Process(each).num_fds() <= 6
    await close_all(process)


async def test_terminal_signals_do_not_reach_the_processes(forks: ForkServer) -> None:
    process = await fork_process(forks)
    pid = await process.ready()
    assert os.getsid(pid) != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
        os.kill(forks.pid or 0, number)
    assert b"test:1" in await process.echo()
    assert forks.pid is not None
    await close_all(process)


async def test_closed_fork_server_stays_closed(forks: ForkServer) -> None:
    await forks.close()
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ConnectionError, match="closed"):
        forks.fork(theirs)
    assert forks.pid is None


async def test_kill_without_a_fork_server_does_nothing(forks: ForkServer) -> None:
    forks.kill(os.getpid())
    assert forks.pid is None


@pytest.mark.parametrize(
    "name",
    [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "no_proxy",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "SSLKEYLOGFILE",
        "AWS_SECRET_ACCESS_KEY",
        "CLIPMILL_KAFKA_PASSWORD",
        "HOME",
    ],
)
def test_variable_is_not_passed_to_processes(name: str) -> None:
    assert name not in child_environment({name: "x"}, [])


def test_processes_get_the_required_variables() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "TZ": "UTC"}
    made = child_environment(given, ["/a", "", "/b"])
    assert given.items() <= made.items()
    assert made["YTDLP_NO_PLUGINS"] == "1"
    assert made["PYTHONPATH"] == os.pathsep.join(["/a", str(Path.cwd()), "/b"])
