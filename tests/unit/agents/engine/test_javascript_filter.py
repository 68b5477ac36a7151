import subprocess
import sys
from pathlib import Path

import pytest

from agents.engine.javascript_filter import CLONE3, FORBIDDEN, MACHINES, build_filter

ALLOW, REFUSE, MISSING, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
THREAD = 0x3D0F00
"""Clone flags of libc for threads."""


def verdict(name: str, number: int, first_argument: int = 0, audit: int | None = None) -> int:
    """Interpret the filter's instructions; return its verdict on a call."""
    machine = MACHINES[name]
    steps, held, place = build_filter(machine), 0, 0
    while True:
        code, when_true, when_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                held = {0: number, 4: audit or machine.audit, 16: first_argument}[operand]
            case 0x15:
                place += when_true if held == operand else when_false
            case 0x35:
                place += when_true if held >= operand else when_false
            case 0x45:
                place += when_true if held & operand else when_false
            case _:
                return operand


@pytest.mark.parametrize("name", MACHINES)
def test_exactly_the_listed_calls_are_refused(name: str) -> None:
    verdicts = {number: verdict(name, number) for number in range(1000)}
    refused = {number for number, answer in verdicts.items() if answer == REFUSE}
    assert refused == {*MACHINES[name].forbidden, MACHINES[name].clone}
    assert {number for number, answer in verdicts.items() if answer == MISSING} == {CLONE3}
    assert set(verdicts.values()) == {ALLOW, REFUSE, MISSING}


@pytest.mark.parametrize("name", MACHINES)
def test_call_numbers_are_unique(name: str) -> None:
    numbers = [*MACHINES[name].forbidden, MACHINES[name].clone, CLONE3]
    assert len(numbers) == len(set(numbers))
    assert len(MACHINES["x86_64"].forbidden) == len(FORBIDDEN)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("flags", "answer"), [(THREAD, ALLOW), (17, REFUSE), (0x4111, REFUSE)])
def test_clone_is_allowed_for_threads_only(name: str, flags: int, answer: int) -> None:
    assert verdict(name, MACHINES[name].clone, flags) == answer


def test_other_calling_conventions_are_refused_or_kill_the_process() -> None:
    assert verdict("x86_64", 0x40000000 | 41) == REFUSE
    assert verdict("x86_64", 0x40000000) == REFUSE
    assert verdict("x86_64", 5, audit=0x40000003) == KILL


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("process", "answer"), [(0, ALLOW), (4711, REFUSE)])
def test_limits_of_its_own_process_alone_can_be_changed(
    name: str, process: int, answer: int
) -> None:
    assert verdict(name, MACHINES[name].prlimit, process) == answer


TRY = """
import ctypes, os, platform, resource, sys
from agents.engine.javascript_filter import MACHINES, build_filter
from agents.media.confinement import install_filter
libc, other = ctypes.CDLL(None, use_errno=True), os.getppid()
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
if not install_filter(build_filter(MACHINES[platform.machine()])):
    sys.exit("no seccomp")
try:
    {what}
except PermissionError:
    print("refused")
else:
    print("done")
"""


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("os.kill(other, 0)", "refused"),
        ("call('tgkill', other, other, 0)", "refused"),
        ("call('sigqueue', other, 0, None)", "refused"),
        ("resource.prlimit(other, resource.RLIMIT_NOFILE)", "refused"),
        ("resource.prlimit(0, resource.RLIMIT_NOFILE)", "done"),
        ("os.setpriority(os.PRIO_PROCESS, other, 19)", "refused"),
        ("os.sched_setaffinity(other, os.sched_getaffinity(other))", "refused"),
        ("call('shmget', 4711, 1, 0)", "refused"),
        ("call('msgget', 4711, 0)", "refused"),
        ("os.chmod(sys.argv[1], 0)", "refused"),
        ("os.chown(sys.argv[1], os.getuid(), -1)", "refused"),
        ("os.utime(sys.argv[1])", "refused"),
        ("os.setxattr(sys.argv[1], 'user.x', b'')", "refused"),
        ("open(sys.argv[1]).read()", "done"),
    ],
)
def test_other_processes_and_attributes_of_files_are_out_of_reach(
    tmp_path: Path, what: str, outcome: str
) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    child = subprocess.run(
        [sys.executable, "-c", TRY.format(what=what), str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert child.stdout.strip() == outcome, child.stderr
