import asyncio
import logging
from pathlib import Path

import psutil
import pytest

from streams.broker.server import RestartPolicy
from streams.cli import up
from streams.cli.up import supervise_console
from streams.settings import Settings

AT_ONCE = RestartPolicy(first_delay_seconds=0.0, max_early_exits=3)


async def test_console_that_keeps_failing_is_not_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(up, "_MAIN", "raise SystemExit(7)")
    ready = asyncio.Event()
    ready.set()
    with caplog.at_level(logging.WARNING):
        await supervise_console(Settings(), ready, AT_ONCE)
    assert len(caplog.records) == AT_ONCE.max_early_exits
    assert "exited 3 times in a row, last with status 7" in caplog.messages[-1]


async def test_console_starts_when_the_stages_are_ready_and_ends_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = "import os, pathlib, sys, time; d = pathlib.Path(os.environ['CLIPMILL_DATA_DIR'])"
    script += "; (d / 'pid.new').write_text(f'{os.getpid()} {sys.argv}')"
    script += "; (d / 'pid.new').rename(d / 'pid'); time.sleep(60)"
    monkeypatch.setattr(up, "_MAIN", script)
    ready = asyncio.Event()
    task = asyncio.create_task(supervise_console(Settings(data_dir=tmp_path), ready))
    children = {each.pid for each in psutil.Process().children()}
    await asyncio.sleep(0)
    assert {each.pid for each in psutil.Process().children()} == children
    ready.set()
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(0.01)
    pid, _, arguments = (tmp_path / "pid").read_text().partition(" ")
    assert "'console', '--bootstrap', '127.0.0.1:9092'" in arguments
    assert psutil.pid_exists(int(pid))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not psutil.pid_exists(int(pid))
