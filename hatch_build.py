"""Compiles the library of `agents.engine.proof_of_work`, where there is a C compiler.

Without one, or when it fails, the package is built all the same and is pure Python.
"""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "agents/engine/proof_of_work.c"
LIBRARY = "agents/engine/libproof_of_work.so"
OPTIONS = ("-O2", "-shared", "-fPIC")
COMPILE_SECONDS = 120.0


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the library to wheels and to editable installations; it needs no certain Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; ``version`` is ``standard`` or ``editable``."""
        del version
        library = Path(self.root, LIBRARY)
        library.unlink(missing_ok=True)
        reason = compile_library(Path(self.root, SOURCE), library)
        if reason is not None:
            self.app.display_warning(
                f"{LIBRARY} was not built, challenges are solved in Python: {reason}"
            )
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(f"/{LIBRARY}")


def compile_library(source: Path, library: Path) -> str | None:
    """Compile the source; return why that is not possible, None when it is done."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    # Written beside and renamed: a process may have the old one open.
    written = library.with_suffix(".so.new")
    command = [*compiler, *OPTIONS, "-o", str(written), str(source)]
    try:
        subprocess.run(  # noqa: S603 - the user's own compiler
            command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS
        )
    except FileNotFoundError:
        return f"there is no C compiler {compiler[0]!r}"
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines() or [""]
        return f"{compiler[0]}: {said[-1]}"
    written.rename(library)
    return None
