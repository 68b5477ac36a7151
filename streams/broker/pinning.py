"""Lock file of the Kafka server's jars: Maven path, size and sha256 of each.

The list is checked in (`jars.lock`), so that a changed mirror or cache is detected. After a change
of `ENDPOINT`, regenerate it with `python -m streams.broker.pinning > new.lock`.
"""

import re
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath

from streams.errors import OperatorError

# Without an slf4j binding Kafka logs nothing. slf4j-simple is of the same release as the slf4j-api
# that Kafka depends on.
ENDPOINT = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"
_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) (?P<size>[1-9]\d{0,8}) (?P<path>(?:\w[\w.-]*/)+\w[\w.-]*\.jar)",
    re.ASCII,
)


class LockError(ValueError):
    """The list of pinned jars is malformed."""


class JarError(OperatorError):
    """A jar of the Kafka server cannot be downloaded, or is not the pinned file."""


@dataclass(frozen=True, slots=True)
class FetchDeadline:
    """Deadline and cancellation of downloads; counts from its creation."""

    seconds: float = 900.0
    cancelled: threading.Event = field(default_factory=threading.Event)
    _started: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise JarError after the deadline or on cancellation."""
        if self.cancelled.is_set():
            raise JarError("fetching the Kafka jars was cancelled")
        if time.monotonic() - self._started > self.seconds:
            raise JarError(f"fetching the Kafka jars took longer than {self.seconds:g} s")


@dataclass(frozen=True, slots=True)
class Jar:
    """A pinned file: path in a Maven repository, size in bytes, sha256 in hex."""

    path: PurePosixPath
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def pinned_jars() -> tuple[Jar, ...]:
    return parse_lock((files(__package__) / "jars.lock").read_text("ascii"))


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Parse one jar per line, `SHA256 BYTES PATH`; file names must be unique.

    Raises:
        LockError: a line is malformed, a file name occurs twice, or the list is empty.
    """
    jars = tuple(_parse_line(number, line) for number, line in enumerate(text.splitlines(), 1))
    if not jars:
        raise LockError("the list of jars is empty")
    if len({jar.name for jar in jars}) != len(jars):
        raise LockError("a file name occurs twice in the list of jars")
    return jars


def _parse_line(number: int, line: str) -> Jar:
    match = _LINE.fullmatch(line)
    if match is None:
        raise LockError(f"line {number} of the list of jars is not 'SHA256 BYTES PATH': {line!r}")
    return Jar(PurePosixPath(match["path"]), int(match["size"]), match["sha256"])


def render_lock(jars: Iterable[Jar]) -> str:
    """Inverse of `parse_lock`, sorted by path for minimal diffs."""
    ordered = sorted(jars, key=lambda jar: jar.path)
    return "".join(f"{jar.sha256} {jar.size} {jar.path}\n" for jar in ordered)


def resolve(endpoint: str, cache_dir: Path) -> tuple[Jar, ...]:
    """Resolve the jars of a Maven endpoint; downloads them into `cache_dir` for their sizes."""
    # Lazy: only needed to regenerate the list; the import takes 0.1 s.
    import jgo  # noqa: PLC0415

    environment = jgo.build(endpoint, cache_dir=cache_dir)
    sizes = {path.name: path.stat().st_size for path in environment.all_jars}
    resolved = tomllib.loads((environment.path / "jgo.lock.toml").read_text("utf-8"))
    return tuple(_from_resolved(entry, sizes) for entry in resolved["dependencies"])


def _from_resolved(entry: dict[str, str], sizes: dict[str, int]) -> Jar:
    artifact, version = entry["artifactId"], entry["version"]
    name = f"{artifact}-{version}.jar"
    folder = PurePosixPath(*entry["groupId"].split("."), artifact, version)
    return Jar(folder / name, sizes[name], entry["sha256"])


def main() -> None:
    """Resolve `ENDPOINT` in a fresh folder and print the list."""
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(render_lock(resolve(ENDPOINT, Path(folder))))


if __name__ == "__main__":
    main()
