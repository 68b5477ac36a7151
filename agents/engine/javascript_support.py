"""Detects what runs the JavaScript of YouTube's player: Deno, and the solver of yt-dlp.

Does not import yt-dlp, which commands would pay for with 0.2 s and 16 MB.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import msgspec

from agents.confinement.seccomp import ARCHITECTURES

DENO_MINIMUM = (2, 3, 0)
"""Oldest Deno that yt-dlp supports."""

SOLVER = "yt-dlp-ejs"
INSTALL = "pip install 'clipmill[youtube]'"
VERSION_SECONDS = 10.0
"""Timeout of ``deno --version``, which takes 30 ms."""

SANDBOX_MODULE = "agents.engine.javascript_sandbox"
PROBE_SECONDS = 20.0
"""Timeout of a small program, which takes 0.1 s."""

OTHER_RUNTIMES = ("node", "bun", "qjs")
"""Runtimes that yt-dlp supports, too. They are not used: their code may read files, or open
connections, or both."""

_VERSION = re.compile(r"deno (\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_REQUIREMENT = re.compile(rf"{SOLVER}\s*==\s*(?P<version>[0-9.]+)")


class JavaScriptSupport(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed of it.

    Attributes:
        deno: path of Deno, None without one.
        deno_version: its version, None when it does not start.
        solver_version: version of yt-dlp-ejs, None without it.
        others: other runtimes, which are not used.
        problems: why JavaScript is not run; empty when it is.
        commands: what removes the problems.
    """

    deno: str | None = None
    deno_version: str | None = None
    solver_version: str | None = None
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_available(self) -> bool:
        return not self.problems

    @property
    def summary(self) -> str:
        """One human-readable line."""
        if self.is_available:
            return f"run by Deno {self.deno_version}, with {SOLVER} {self.solver_version}"
        unused = f" ({', '.join(self.others)} cannot be used)" if self.others else ""
        return "; ".join((f"not run: {', '.join(self.problems)}{unused}", *self.commands))


DISABLED = JavaScriptSupport(problems=("the setting engine.javascript is off",))


@cache
def javascript_support() -> JavaScriptSupport:
    """Return what this process can use; found once."""
    return find_support(sys.path)


def find_support(path: Sequence[str]) -> JavaScriptSupport:
    """Return what a process with this import path can use."""
    deno, installed = _find_deno(path), _installed(path)
    version = None if deno is None else _deno_version(deno)
    solver = installed.get(SOLVER)
    found = (
        _machine_problem(),
        _deno_problem(deno, version),
        _solver_problem(solver, installed.get("yt-dlp-requires")),
    )
    problems = [each for each in found if each is not None]
    if deno is not None and not problems and not starts_in_sandbox(deno):
        problems = [(f"{deno} does not start in its sandbox", "")]
    return JavaScriptSupport(
        deno=deno,
        deno_version=None if version is None else ".".join(map(str, version)),
        solver_version=solver,
        others=tuple(name for name in OTHER_RUNTIMES if shutil.which(name)),
        problems=tuple(text for text, _ in problems),
        commands=tuple(dict.fromkeys(command for _, command in problems if command)),
    )


def _find_deno(path: Sequence[str]) -> str | None:
    """Return Deno of the installation or of `pip install --target`, else that of PATH."""
    folders = [sysconfig.get_path("scripts"), *(os.path.join(each, "bin") for each in path)]  # noqa: PTH118 - entries may be empty
    return shutil.which("deno", path=os.pathsep.join(folders)) or shutil.which("deno")


def _deno_version(deno: str) -> tuple[int, ...] | None:
    try:
        found = subprocess.run(  # noqa: S603 - the installed Deno
            [deno, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.match(found.stdout.decode(errors="replace"))
    return None if match is None else tuple(map(int, match.groups()))


def starts_in_sandbox(deno: str) -> bool:
    """Return whether a program runs under all limits: on kernels and installations they differ."""
    try:
        found = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", SANDBOX_MODULE, str(os.getpid()), deno],
            input=b"console.log(6 * 7);",
            capture_output=True,
            timeout=PROBE_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.stdout == b"42\n"


def _installed(path: Iterable[str]) -> dict[str, str]:
    """Return the version of the solver, and the one that yt-dlp requires; the first of each."""
    found: dict[str, str] = {}
    for entry in path:
        for name, key in (("yt_dlp_ejs", SOLVER), ("yt_dlp", "yt-dlp-requires")):
            if key in found or not (Path(entry or ".") / name).is_dir():
                continue
            for each in distributions(name=name.replace("_", "-"), path=[entry]):
                version = each.version if key == SOLVER else _required(each.requires or ())
                if version is not None:
                    found.setdefault(key, version)
    return found


def _required(requirements: Iterable[str]) -> str | None:
    matches = (_REQUIREMENT.match(each) for each in requirements)
    return next((each["version"] for each in matches if each is not None), None)


_Problem = tuple[str, str]
"""What is wrong, and the command that removes it, empty without one."""


def _machine_problem() -> _Problem | None:
    if platform.machine() in ARCHITECTURES:
        return None
    return f"its sandbox does not support {platform.machine()}", ""


def _deno_problem(deno: str | None, version: tuple[int, ...] | None) -> _Problem | None:
    if deno is None:
        return "Deno is not installed", INSTALL
    if version is None:
        return f"{deno} does not start", INSTALL
    if version < DENO_MINIMUM:
        names = (".".join(map(str, each)) for each in (version, DENO_MINIMUM))
        return "Deno {} is older than {}".format(*names), "pip install -U deno"
    return None


def _solver_problem(solver: str | None, required: str | None) -> _Problem | None:
    if solver is None:
        return f"{SOLVER} is not installed", INSTALL
    # As yt-dlp compares them: a patch release has the same scripts.
    if required is not None and solver.split(".")[:2] != required.split(".")[:2]:
        return f"{SOLVER} {solver} is not that of this yt-dlp", f"pip install {SOLVER}=={required}"
    return None
