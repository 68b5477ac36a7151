import ctypes
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from streams.broker import launcher

CHILD = [sys.executable, "-I", "-S", launcher.__file__]
PARENT = (
    "import os, subprocess, sys, time;"
    "child = subprocess.Popen([*sys.argv[1:], str(os.getpid()), '/bin/sleep', '60']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


def test_program_dies_with_its_parent() -> None:
    command = [sys.executable, "-c", PARENT, *CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        while child.name() != "sleep":
            assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + 2
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


def test_program_receives_its_arguments_and_descriptors() -> None:
    done = subprocess.run(
        [*CHILD, str(os.getpid()), "/bin/echo", "two words", "$HOME"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "two words $HOME\n"


def test_launch_fails_if_the_parent_has_already_exited() -> None:
    done = subprocess.run([*CHILD, "1", "/bin/echo"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "process 1, the parent of /bin/echo, has exited\n"


def test_death_signal_is_set_before_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def prctl(*arguments: object) -> int:
        calls.append(arguments)
        return 0

    fake = SimpleNamespace(prctl=prctl)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: fake)
    monkeypatch.setattr(os, "execv", lambda *arguments: calls.append(arguments))
    launcher.main([str(os.getppid()), "/bin/true", "x"])
    assert calls == [(1, signal.SIGKILL, 0, 0, 0), ("/bin/true", ["/bin/true", "x"])]


def test_failing_prctl_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(prctl=lambda *_: -1))
    with pytest.raises(OSError, match="PR_SET_PDEATHSIG"):
        launcher.main(["1", "/bin/true"])
