import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.media.client import START_BACKOFF_SECONDS, ProcessUnavailableError
from agents.media.prober import MEMORY_BYTES, PROBE_SECONDS, MediaProber, open_prober
from agents.media.protocol import MediaFacts, Unreadable
from tests.unit.agents.media.files import (
    CONCAT,
    PICTURE,
    PLAYLIST,
    SOUND,
    VIDEO,
    content,
    picture_in,
    progressive_jpeg,
    sound_in,
    video_in_matroska,
    write,
)

STARTED = """
import socket, sys, os, time
from agents.media.protocol import PROBE, MediaFacts, Ready, pack
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(pack(Ready()))
while True:
    packet, files, _, _ = socket.recv_fds(connection, len(PROBE), 1)
    if not packet: break
"""


@pytest.fixture
async def prober() -> AsyncIterator[MediaProber]:
    async with open_prober() as opened:
        yield opened


def replace_process(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Run another program in place of the process, with ``body`` for each file."""
    program = folder / "program.py"
    program.write_text(STARTED + "".join(f"    {line}\n" for line in body.splitlines()))
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        assert command[:4] == [sys.executable, "-P", "-m", "agents.media.process"]
        return real([sys.executable, str(program), *command[4:]], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def filter_mode(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)["Seccomp"].strip()


def ends(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


async def test_one_process_probes_consecutive_files(prober: MediaProber, tmp_path: Path) -> None:
    assert prober.pid is None
    video, picture = write(tmp_path, content(VIDEO)), write(tmp_path, content(PICTURE), "picture")
    first = await prober.probe(video)
    pid = prober.pid
    second, third = await asyncio.gather(prober.probe(picture), prober.probe(video))
    assert isinstance(first, MediaFacts)
    assert (first.width, first.height) == (720, 1280)
    assert isinstance(second, MediaFacts)
    assert (second.width, second.height) == (1080, 1440)
    assert third == first
    assert prober.pid == pid


async def test_killed_process_is_replaced(prober: MediaProber, tmp_path: Path) -> None:
    video = write(tmp_path, content(VIDEO))
    first = await prober.probe(video)
    pid = prober.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert await prober.probe(video) == first
    assert prober.pid not in {None, pid}


async def test_process_ends_with_the_context(tmp_path: Path) -> None:
    async with open_prober() as prober:
        await prober.probe(write(tmp_path, b"x"))
        pid = prober.pid
        assert pid is not None
        assert is_alive(pid)
    assert ends(pid)


async def test_process_ends_with_its_killed_parent(tmp_path: Path) -> None:
    video = write(tmp_path, b"x")
    program = f"""
import asyncio, pathlib, sys
from agents.media.prober import MediaProber
async def main():
    prober = MediaProber()
    await prober.probe(pathlib.Path({str(video)!r}))
    print(prober.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    pid = int(await asyncio.wait_for(child.stdout.readline(), 20))
    assert is_alive(pid)
    child.kill()
    await child.communicate()
    assert await asyncio.to_thread(ends, pid)


async def test_file_that_kills_every_process_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_process(monkeypatch, tmp_path, "os.abort()")
    async with open_prober() as prober:
        answer = await prober.probe(write(tmp_path, content(VIDEO)))
    assert isinstance(answer, Unreadable)
    assert "process died" in answer.reason


async def test_file_is_retried_after_one_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    body = f"""if not os.path.exists({str(once)!r}):
    open({str(once)!r}, "x").close()
    os._exit(1)
connection.sendall(pack(MediaFacts(width=7)))"""
    replace_process(monkeypatch, tmp_path, body)
    async with open_prober() as prober:
        assert await prober.probe(write(tmp_path, b"x")) == MediaFacts(width=7)


class FixedShareProber(MediaProber):
    """Its process seems to use a fixed share of a CPU, whatever the load of the machine."""

    def __init__(self, share: float) -> None:
        super().__init__(seconds=0.3)
        self.share = share
        self.readings = 0

    def _cpu_seconds(self) -> float:
        self.readings += 1
        return self.readings * self.share * 0.3


async def test_file_that_times_out_is_unreadable_and_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = tmp_path / "probes"
    body = f"os.write(os.open({str(probes)!r}, 0o2101), b'x')\nwhile True: pass"
    replace_process(monkeypatch, tmp_path, body)
    prober = FixedShareProber(1.0)
    answer = await prober.probe(write(tmp_path, b"x"))
    assert isinstance(answer, Unreadable)
    assert "0.3 s" in answer.reason
    assert probes.read_text() == "x"
    assert prober.pid is None


async def test_process_without_cpu_time_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_process(monkeypatch, tmp_path, "time.sleep(60)")
    prober = MediaProber(seconds=0.3)
    with pytest.raises(ProcessUnavailableError, match="no CPU time"):
        await prober.probe(write(tmp_path, b"x"))
    assert prober.pid is None


async def test_stopped_process_is_unavailable(tmp_path: Path) -> None:
    prober = MediaProber(seconds=0.3)
    movie = write(tmp_path, content(VIDEO))
    # The first probe may take longer than that.
    prober._seconds = PROBE_SECONDS
    await prober.probe(movie)
    prober._seconds = 0.3
    assert prober.pid is not None
    os.kill(prober.pid, signal.SIGSTOP)
    with pytest.raises(ProcessUnavailableError):
        await prober.probe(movie)


async def test_cpu_time_of_the_process_is_measured(prober: MediaProber, tmp_path: Path) -> None:
    assert prober._cpu_seconds() == 0.0
    await prober.probe(write(tmp_path, content(VIDEO)))
    assert prober._cpu_seconds() > 0.0


async def test_file_that_times_out_delays_others_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """if os.readlink(f"/proc/self/fd/{files[0]}").endswith("slow"): time.sleep(60)
connection.sendall(pack(MediaFacts(width=2)))"""
    replace_process(monkeypatch, tmp_path, body)
    slow, quick = write(tmp_path, b"x", "slow"), write(tmp_path, b"x", "quick")
    prober = FixedShareProber(1.0)
    answers = await asyncio.gather(prober.probe(slow), prober.probe(quick))
    prober.close()
    assert isinstance(answers[0], Unreadable)
    assert answers[1] == MediaFacts(width=2)


async def test_scan_bomb_does_not_delay_others(prober: MediaProber, tmp_path: Path) -> None:
    bomb = write(tmp_path, progressive_jpeg(3_000, side=9_990), "bomb")
    video = write(tmp_path, content(VIDEO))
    await prober.probe(video)
    pid = prober.pid
    async with asyncio.timeout(PROBE_SECONDS):
        found, meanwhile = await asyncio.gather(prober.probe(bomb), prober.probe(video))
    assert isinstance(found, Unreadable)
    assert "scans" in found.reason
    assert isinstance(meanwhile, MediaFacts)
    assert prober.pid == pid


@pytest.mark.parametrize(
    "body",
    ["connection.sendall(b'?')", "connection.sendall(pack(Ready()))"],
    ids=["noise", "ready"],
)
async def test_invalid_answer_makes_the_file_unreadable(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_process(monkeypatch, tmp_path, body)
    async with open_prober() as prober:
        assert isinstance(await prober.probe(write(tmp_path, b"x")), Unreadable)


async def test_answer_of_a_cancelled_probe_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """name = os.readlink(f"/proc/self/fd/{files[0]}")
if name.endswith("slow"): time.sleep(0.2)
connection.sendall(pack(MediaFacts(width=1 if name.endswith("slow") else 2)))"""
    replace_process(monkeypatch, tmp_path, body)
    slow, quick = write(tmp_path, b"x", "slow"), write(tmp_path, b"x", "quick")
    async with open_prober() as prober:
        await prober.probe(quick)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await prober.probe(slow)
        assert await prober.probe(quick) == MediaFacts(width=2)


async def test_process_that_cannot_start_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    async with open_prober() as prober:
        with pytest.raises(ProcessUnavailableError):
            await prober.probe(write(tmp_path, b"x"))


async def test_process_that_exits_at_once_is_unavailable_during_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    now = 100.0
    prober = MediaProber(timer=lambda: now)
    movie = write(tmp_path, content(VIDEO))
    for _ in range(2):
        with pytest.raises(ProcessUnavailableError):
            await prober.probe(movie)
    monkeypatch.undo()
    with pytest.raises(ProcessUnavailableError, match="a moment ago"):
        await prober.probe(movie)
    now += START_BACKOFF_SECONDS
    assert isinstance(await prober.probe(movie), MediaFacts)
    prober.close()


async def test_close_does_not_wait_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_process(monkeypatch, tmp_path, "connection.sendall(pack(MediaFacts(width=2)))")
    prober = MediaProber()
    await prober.probe(write(tmp_path, b"x"))
    process, reaped = prober._process, threading.Event()
    assert process is not None
    real = process.wait

    def wait() -> int:
        reaped.wait(60)
        return real()

    monkeypatch.setattr(process, "wait", wait)
    prober.close()
    assert prober.pid is None
    reaped.set()


async def test_file_that_cannot_be_opened_is_not_unreadable(
    prober: MediaProber, tmp_path: Path
) -> None:
    with pytest.raises(ProcessUnavailableError, match="gone"):
        await prober.probe(tmp_path / "gone")
    assert isinstance(await prober.probe(write(tmp_path, content(VIDEO))), MediaFacts)


async def test_process_can_open_no_other_file_or_socket(
    prober: MediaProber, tmp_path: Path
) -> None:
    await prober.probe(write(tmp_path, b"x"))
    assert prober.pid is not None
    process = psutil.Process(prober.pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{prober.pid}/fd")}  # noqa: PTH208
    assert soft == hard
    assert len(set(range(soft)) - used) == 1
    assert process.rlimit(psutil.RLIMIT_DATA)[1] == MEMORY_BYTES
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert os.getsid(prober.pid) == prober.pid
    assert filter_mode(prober.pid) == "2"


async def test_confined_process_reads_all_media_types(prober: MediaProber, tmp_path: Path) -> None:
    """Libraries loaded lazily would fail: a confined process cannot open them."""
    bodies = {
        "mp3": sound_in("mp3", "libmp3lame"),
        "flac": sound_in("flac", "flac"),
        "wav": sound_in("wav", "pcm_s16le"),
        "opus": sound_in("ogg", "libopus"),
        "png": picture_in("png", "rgb24"),
        "webp": picture_in("libwebp", "yuv420p"),
        "gif": picture_in("gif", "pal8"),
        "h264": video_in_matroska(),
        "jpeg": content(PICTURE),
        "aac": content(SOUND),
    }
    found = {name: await prober.probe(write(tmp_path, body)) for name, body in bodies.items()}
    codecs = {
        name: each.video_codec or each.audio_codec
        for name, each in found.items()
        if isinstance(each, MediaFacts)
    }
    assert codecs == {name: name for name in bodies} | {"wav": "pcm_s16le"}


@pytest.mark.parametrize("kind", [PLAYLIST, CONCAT], ids=["playlist", "concat"])
async def test_references_to_other_files_are_not_followed(
    kind: bytes, prober: MediaProber, tmp_path: Path
) -> None:
    connections: list[object] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/other.ts".encode()
        found = await prober.probe(write(tmp_path, kind.replace(b"{url}", url)))
        await asyncio.sleep(0.05)
    assert isinstance(found, Unreadable)
    assert connections == []
