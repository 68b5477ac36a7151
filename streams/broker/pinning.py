"""The list of jars that make a Kafka server: where each lies in a Maven repository, size, sha256.

The list is checked in (`jars.lock`), so that a changed mirror or cache is noticed. After a change
of `ENDPOINT`, write it anew with `python -m streams.broker.pinning > new.lock`.
"""

import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

# Without an slf4j binding Kafka logs nothing at all. slf4j-simple of the same release as the
# slf4j-api that Kafka itself brings.
ENDPOINT = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"
_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) (?P<size>[1-9]\d{0,8}) (?P<path>(?:\w[\w.-]*/)+\w[\w.-]*\.jar)",
    re.ASCII,
)


class LockError(ValueError):
    """The list of pinned jars cannot be understood."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file: its path below a Maven repository, its size in bytes, its sha256 in hex."""

    path: PurePosixPath
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def pinned_jars() -> tuple[Jar, ...]:
    """The jars this release of clipmill runs."""
    return parse_lock((files(__package__) / "jars.lock").read_text("ascii"))


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Read one jar per line, `SHA256 BYTES PATH`; a file name may occur once only.

    Raises:
        LockError: a line is not of that form, or the list is empty.
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
    """Write what `parse_lock` reads, ordered by path so that a diff shows what changed."""
    ordered = sorted(jars, key=lambda jar: jar.path)
    return "".join(f"{jar.sha256} {jar.size} {jar.path}\n" for jar in ordered)


def resolve(endpoint: str, cache_dir: Path) -> tuple[Jar, ...]:
    """Ask Maven which jars an endpoint needs, and download them into `cache_dir` to size them."""
    # Only a change of the list needs it; its import takes 0.1 s.
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
