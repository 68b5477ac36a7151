"""Log file of the embedded broker: bounded in size, its tail quoted in errors."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LIMIT_BYTES = 8 << 20
_TAIL_BYTES = 8 << 10
_TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class BrokerLog:
    """`kafka.log`, written by the server itself, and one rotated file."""

    path: Path
    limit_bytes: int = _LIMIT_BYTES

    @contextmanager
    def open_for_append(self) -> Iterator[int]:
        """Open a descriptor for the server to inherit as its output.

        Append mode: after `limit_size` truncates the file, the server continues at its beginning.
        """
        descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def rotate(self) -> None:
        """Rename the file to `kafka.log.1`; no server may be running."""
        if self.path.exists():
            self.path.replace(self._rotated)

    def limit_size(self) -> None:
        """Copy to `kafka.log.1` and truncate when over the limit, while the server writes."""
        if self.path.exists() and self.path.stat().st_size > self.limit_bytes:
            shutil.copyfile(self.path, self._rotated)
            os.truncate(self.path, 0)

    def tail(self) -> str:
        """Return the last lines, at most 8 KiB; empty when there are none."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    @property
    def _rotated(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")
