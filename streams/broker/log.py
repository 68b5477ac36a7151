"""The log file of the embedded broker: bounded, and quoted when something fails."""

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
    """`kafka.log`, written by the server itself, and one older file of at most the same size."""

    path: Path
    limit_bytes: int = _LIMIT_BYTES

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor for the server to inherit as its output.

        Append mode: after `bound` empties the file, the server goes on at its beginning.
        """
        descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def rotate(self) -> None:
        """Start a new file, while no server writes; the last one becomes `kafka.log.1`."""
        if self.path.exists():
            self.path.replace(self._older)

    def bound(self) -> None:
        """Move the content to `kafka.log.1` when it is too long, while the server writes."""
        if self.path.exists() and self.path.stat().st_size > self.limit_bytes:
            shutil.copyfile(self.path, self._older)
            os.truncate(self.path, 0)

    def tail(self) -> str:
        """The last lines, at most 8 KiB; empty when there are none."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    @property
    def _older(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")
