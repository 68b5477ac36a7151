"""Another yt-dlp than the installed one: a folder that engine processes import from first.

``python -m agents.engine.packages DIRECTORY`` imports all that an engine process is made of, and
fails when that cannot be had, or when yt-dlp comes from elsewhere.
"""

import asyncio
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ClipmillError, ErrorCode

CHECK_SECONDS = 60.0
"""For one import of everything, without compiled files at first: 2 to 5 s on a busy machine."""

MODULES = ("yt_dlp", "agents.engine.worker_main")
"""yt-dlp, and what uses its seams."""

_REASON_CHARACTERS_MAX = 300


async def check_packages(directory: Path, environment: Mapping[str, str]) -> None:
    """Import the packages of a folder in a process of its own.

    Args:
        directory: made by ``pip install --target DIRECTORY yt-dlp``.
        environment: that of engine processes, with the folder in front of all others.

    Raises:
        ClipmillError: ``system.config``; it has no yt-dlp, or one that cannot be used.
    """
    if not (directory / "yt_dlp" / "__init__.py").is_file():
        raise _refusal(directory, "it has no yt_dlp; pip install --target makes one")
    reason = await _import(directory, environment)
    if reason is not None:
        raise _refusal(directory, f"its packages cannot be used: {reason}")


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
        return f"they were not imported within {CHECK_SECONDS:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _last_line(errors) if process.returncode else None


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines() or ["without a reason"]
    return lines[-1][:_REASON_CHARACTERS_MAX]


def _refusal(directory: Path, reason: str) -> ClipmillError:
    message = f"engine.packages_dir {directory}: {reason}"
    return ClipmillError(ErrorCode.SYSTEM_CONFIG, message)


def main(directory: str) -> None:
    """Import everything.

    Raises:
        ImportError: something is missing, or yt-dlp is not that of the folder.
    """
    for name in MODULES:
        importlib.import_module(name)
    found = Path(sys.modules["yt_dlp"].__file__ or "").resolve()
    if not found.is_relative_to(Path(directory).resolve()):
        raise ImportError(f"yt_dlp is imported from {found.parent}")


if __name__ == "__main__":
    main(sys.argv[1])
