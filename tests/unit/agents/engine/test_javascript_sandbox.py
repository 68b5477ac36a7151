import subprocess
import sys
from pathlib import Path

import pytest

from agents.confinement.seccomp import ARCHITECTURES, CLONE, CLONE3, numbers_of
from agents.engine.javascript_sandbox import FORBIDDEN, PRLIMIT, build_filter
from tests.unit.agents.confinement.interpreter import ALLOW, MISSING, REFUSE, action


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exactly_the_listed_calls_are_refused(architecture: str) -> None:
    program = build_filter(architecture)
    actions = {number: action(program, architecture, number) for number in range(1000)}
    refused = {number for number, answer in actions.items() if answer == REFUSE}
    assert refused == set(numbers_of((*FORBIDDEN.values(), CLONE), architecture))
    missing = {number for number, answer in actions.items() if answer == MISSING}
    assert missing == {CLONE3.on(architecture)}
    assert set(actions.values()) == {ALLOW, REFUSE, MISSING}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("process", "answer"), [(0, ALLOW), (4711, REFUSE)])
def test_limits_of_its_own_process_alone_can_be_changed(
    architecture: str, process: int, answer: int
) -> None:
    program = build_filter(architecture)
    assert action(program, architecture, PRLIMIT.on(architecture), process) == answer


TRY = """
import ctypes, os, platform, resource, sys
from agents.confinement.seccomp import install_filter
from agents.engine.javascript_sandbox import build_filter
libc, other = ctypes.CDLL(None, use_errno=True), os.getppid()
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
if not install_filter(build_filter(platform.machine())):
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
