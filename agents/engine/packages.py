"""Validation of ``engine.packages_dir``: a folder with a yt-dlp to use before the installed one.

``python -m agents.engine.packages DIRECTORY`` imports all modules of an engine process, and fails
when one cannot be imported, or when yt-dlp comes from another folder.
"""

import asyncio
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ClipmillError, ErrorCode

CHECK_SECONDS = 60.0
"""Timeout of one import of all modules: 2 to 5 s on a busy machine, without compiled files."""

MODULES = ("yt_dlp", "agents.engine.worker_main")
"""yt-dlp, and the code that subclasses its internals."""

_REASON_CHARACTERS_MAX = 300


async def check_packages(directory: Path, environment: Mapping[str, str]) -> None:
    """Import the packages of a folder in a separate process.

    Args:
        directory: made by ``pip install --target DIRECTORY yt-dlp``.
        environment: that of engine processes, with the folder first in the import path.

    Raises:
        ClipmillError: ``system.config``; the folder has no yt-dlp, or an incompatible one.
    """
    if not (directory / "yt_dlp" / "__init__.py").is_file():
        raise _config_error(directory, "it has no yt_dlp; pip install --target makes one")
    reason = await _import(directory, environment)
    if reason is not None:
        raise _config_error(directory, f"its packages cannot be used: {reason}")


async def _import(directory: Path, environment: Mapping[str, str]) -> str | None:
    command = (sys.executable, "-P", "-m", "agents.engine.packages", str(directory))
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            _, errors = await process.communicate()
    except TimeoutError:
        return f"the import took longer than {CHECK_SECONDS:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _last_line(errors) if process.returncode else None


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines() or ["without a reason"]
    return lines[-1][:_REASON_CHARACTERS_MAX]


def _config_error(directory: Path, reason: str) -> ClipmillError:
    message = f"engine.packages_dir {directory}: {reason}"
    return ClipmillError(ErrorCode.SYSTEM_CONFIG, message)


def main(directory: str) -> None:
    """Import `MODULES`.

    Raises:
        ImportError: a module is missing, or yt-dlp is not that of the folder.
    """
    for name in MODULES:
        importlib.import_module(name)
    origin = Path(sys.modules["yt_dlp"].__file__ or "").resolve()
    if not origin.is_relative_to(Path(directory).resolve()):
        raise ImportError(f"yt_dlp is imported from {origin.parent}")


if __name__ == "__main__":
    main(sys.argv[1])
