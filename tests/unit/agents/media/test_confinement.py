import errno
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from agents.confinement.seccomp import ARCHITECTURES, CLONE3, numbers_of
from agents.media.confinement import ALLOWED, build_filter, confine
from tests.unit.agents.confinement.interpreter import ALLOW, MISSING, REFUSE, action
from tests.unit.agents.media.files import VIDEO, content, write

TRY = """
import os, socket, subprocess, sys, threading
from agents.media.confinement import confine
assert confine()
try:
    {what}
except PermissionError:
    print("refused")
else:
    print("done")
"""


def outcome(what: str) -> str:
    return run_confined(TRY.format(what=what)).strip()


def run_confined(script: str, *arguments: str) -> str:
    """Run a script that confines itself; return what it prints."""
    child = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    return child.stdout


@pytest.mark.parametrize(
    "what",
    [
        "open('/etc/hostname')",
        "os.open('/tmp', os.O_RDONLY)",
        "socket.socket()",
        "socket.socketpair()",
        "socket.socket(socket.AF_UNIX)",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
    ],
)
def test_opening_files_sockets_and_programs_is_refused(what: str) -> None:
    assert outcome(what) == "refused"


@pytest.mark.parametrize(
    "what",
    [
        "bytearray(10_000_000)",
        "sys.stderr.write('x')",
        "os.write(1, b'')",
        "threading.Thread(target=os.getpid).start()",
    ],
)
def test_required_calls_are_allowed(what: str) -> None:
    assert outcome(what) == "done"


CALLS = {
    # Files, by their names
    "truncate": "libc.truncate(victim, 0)",
    "rename": "libc.rename(victim, other)",
    "renameat": "libc.renameat(HERE, victim, HERE, other)",
    "renameat2": "libc.renameat2(HERE, victim, HERE, other, 0)",
    "unlink": "libc.unlink(victim)",
    "unlinkat": "libc.unlinkat(HERE, victim, 0)",
    "symlink": "libc.symlink(victim, other)",
    "symlinkat": "libc.symlinkat(victim, HERE, other)",
    "link": "libc.link(victim, other)",
    "linkat": "libc.linkat(HERE, victim, HERE, other, 0)",
    "chmod": "libc.chmod(victim, 0)",
    "fchmodat": "libc.fchmodat(HERE, victim, 0, 0)",
    "chown": "libc.chown(victim, -1, -1)",
    "lchown": "libc.lchown(victim, -1, -1)",
    "fchownat": "libc.fchownat(HERE, victim, -1, -1, 0)",
    "mkdir": "libc.mkdir(other, 0o700)",
    "mkdirat": "libc.mkdirat(HERE, other, 0o700)",
    "rmdir": "libc.rmdir(other)",
    "mknod": "libc.mknod(other, 0o10600, 0)",
    "mknodat": "libc.mknodat(HERE, other, 0o10600, 0)",
    "setxattr": "libc.setxattr(victim, b'user.x', b'x', 1, 0)",
    "utimensat": "libc.utimensat(HERE, victim, None, 0)",
    "access": "libc.access(victim, 0)",
    "stat": "libc.stat(victim, ctypes.create_string_buffer(512))",
    "readlink": "libc.readlink(b'/proc/self/exe', other, 1)",
    "chdir": "libc.chdir(b'/')",
    "chroot": "libc.chroot(b'/')",
    "mount": "libc.mount(other, other, None, 0, None)",
    "umount2": "libc.umount2(victim, 0)",
    "inotify_init": "libc.inotify_init1(0)",
    "memfd_create": "libc.memfd_create(b'x', 0)",
    # Files, by descriptors
    "ftruncate": "libc.ftruncate(held, 0)",
    "fchmod": "libc.fchmod(held, 0)",
    "fchown": "libc.fchown(held, -1, -1)",
    "fallocate": "libc.fallocate(held, 0, 0, 1)",
    "ioctl": "libc.ioctl(held, 0x5401, None)",
    "dup": "libc.dup(held)",
    "fcntl": "libc.fcntl(held, 1)",
    "pipe": "libc.pipe((ctypes.c_int * 2)())",
    # Other processes
    "fork": "libc.fork() or os._exit(1)",
    "kill": "libc.kill(parent, 0)",
    "tgkill": "libc.tgkill(parent, parent, 0)",
    "sigqueue": "libc.sigqueue(parent, 0, None)",
    "ptrace": "libc.ptrace(2, parent, None, None)",
    "process_vm_readv": "libc.process_vm_readv(parent, None, 0, None, 0, 0)",
    "process_vm_writev": "libc.process_vm_writev(parent, None, 0, None, 0, 0)",
    "pidfd_send_signal": "libc.syscall(424, -1, 0, None, 0)",
    "pidfd_open": "libc.syscall(434, parent, 0)",
    "pidfd_getfd": "libc.syscall(438, -1, 0, 0)",
    "prlimit": "libc.prlimit(parent, 7, None, None)",
    "setpriority": "libc.setpriority(0, parent, 0)",
    "sched_setaffinity": "libc.sched_setaffinity(parent, 0, None)",
    "setsid": "libc.setsid()",
    "prctl": "libc.prctl(1, 0, 0, 0, 0)",
    "setns": "libc.setns(-1, 0)",
    "unshare": "libc.unshare(0)",
    # Bypasses of the filter, and the rest of the kernel
    "io_uring_setup": "libc.syscall(425, 1, None)",
    "io_uring_enter": "libc.syscall(426, -1, 0, 0, 0, None, 0)",
    "openat2": "libc.syscall(437, -100, victim, None, 0)",
    "bpf": "libc.syscall(numbers['bpf'], 0, None, 0)",
    "perf_event_open": "libc.syscall(numbers['perf_event_open'], None, 0, -1, -1, 0)",
    "keyctl": "libc.syscall(numbers['keyctl'], 0, -3, 0, 0, 0)",
    "add_key": "libc.syscall(numbers['add_key'], None, None, None, 0, 0)",
    "userfaultfd": "libc.syscall(numbers['userfaultfd'], 0)",
    "shmat": "libc.shmat(-1, None, 0)",
}
"""Calls of libc, and system calls where libc has no wrapper; harmless if one is allowed."""

TRY_ALL = f"""
import ctypes, os, platform, sys
from agents.media.confinement import confine
libc, HERE, parent = ctypes.CDLL(None, use_errno=True), -100, os.getppid()
victim, other = (name.encode() for name in sys.argv[1:])
held = os.open(victim, os.O_RDWR)
numbers = {{
    "x86_64": dict(bpf=321, perf_event_open=298, keyctl=250, add_key=248, userfaultfd=323),
    "aarch64": dict(bpf=280, perf_event_open=241, keyctl=219, add_key=217, userfaultfd=282),
}}[platform.machine()]
assert confine()
for name, call in {CALLS!r}.items():
    ctypes.set_errno(0)
    print(name, eval(call), ctypes.get_errno())
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Return the result and errno of each call in a confined process."""
    victim = tmp_path_factory.mktemp("confined") / "victim"
    victim.write_text("x")
    printed = run_confined(TRY_ALL, str(victim), str(victim.with_name("other")))
    assert [each.name for each in victim.parent.iterdir()] == ["victim"]
    assert victim.read_text() == "x"
    rows = (line.split() for line in printed.splitlines())
    return {name: (int(result), int(error)) for name, result, error in rows}


@pytest.mark.parametrize("name", CALLS)
def test_calls_beyond_the_open_file_are_refused(
    name: str, outcomes: dict[str, tuple[int, int]]
) -> None:
    assert outcomes[name] == (-1, errno.EPERM)


WORK = """
import io, sys, threading
from pathlib import Path
import av, av.subtitles.stream
from agents.media.confinement import confine
body = Path(sys.argv[1]).read_bytes()
assert confine()
ran = []
threads = [threading.Thread(target=ran.append, args=(1,)) for _ in range(3)]
[each.start() for each in threads]
[each.join() for each in threads]
with av.open(io.BytesIO(body)) as container:
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "FRAME", 4
    frames = sum(1 for _ in container.decode(stream))
    print(len(ran), frames)
"""


def test_multithreaded_decoding_works_when_confined(tmp_path: Path) -> None:
    ran, frames = run_confined(WORK, str(write(tmp_path, content(VIDEO)))).split()
    assert int(ran) == 3
    assert int(frames) > 1


def test_clone_cannot_start_processes() -> None:
    # By system call: libc's `fork` may use another one.
    script = """
import ctypes, errno, os, platform
from agents.confinement.seccomp import CLONE, CLONE3
from agents.media.confinement import confine
libc = ctypes.CDLL(None, use_errno=True)
assert confine()
for call, flags in ((CLONE, 17), (CLONE, 0), (CLONE3, 0)):
    if libc.syscall(getattr(call, platform.machine()), flags, 0, 0, 0, 0) == 0: os._exit(1)
    print(errno.errorcode[ctypes.get_errno()])
"""
    assert run_confined(script).split() == ["EPERM", "EPERM", "ENOSYS"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exactly_the_listed_calls_are_allowed(architecture: str) -> None:
    program = build_filter(architecture)
    actions = {number: action(program, architecture, number) for number in range(1000)}
    allowed = {number for number, answer in actions.items() if answer == ALLOW}
    assert allowed == set(numbers_of(ALLOWED.values(), architecture))
    missing = {number for number, answer in actions.items() if answer == MISSING}
    assert missing == {CLONE3.on(architecture)}
    assert set(actions.values()) == {ALLOW, REFUSE, MISSING}


def test_unknown_machine_is_not_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    assert not confine()
