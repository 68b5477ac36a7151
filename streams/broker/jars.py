"""Cache of Kafka's jars: downloaded once, verified before every use, shared by all brokers."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.broker.pinning import FetchDeadline, Jar, JarError, pinned_jars
from streams.file_lock import FileLock

_LOCK_POLL_SECONDS = 0.05


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/clipmill`, else `~/.cache/clipmill` (XDG ignores relative paths)."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    return base / "clipmill"


def ensure_jars(
    cache_dir: Path,
    jars: Iterable[Jar] | None = None,
    *,
    repository: str | None = None,
    deadline: FetchDeadline | None = None,
) -> tuple[Path, ...]:
    """Return the paths of all jars after verification; download the missing ones first.

    Needs no network when the cache is complete. Safe for concurrent processes.

    Args:
        cache_dir: parent of the folder `kafka-jars`.
        jars: jars to provide; by default those pinned by this release of clipmill.
        repository: base URL of a Maven repository; by default Maven Central.
        deadline: deadline of the downloads.

    Raises:
        JarError: a jar cannot be downloaded, or differs from its pinned size or sha256.
    """
    wanted = tuple(pinned_jars() if jars is None else jars)
    folder = cache_dir / "kafka-jars"
    if _missing(folder, wanted):
        # Lazy import of an HTTP client: 0.2 s that only the first start needs.
        from streams.broker.jar_download import fetch_all  # noqa: PLC0415

        deadline = deadline or FetchDeadline()
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock", deadline):
            fetch_all(folder, _missing(folder, wanted), deadline, repository)
    return tuple(folder / jar.name for jar in wanted)


def _missing(folder: Path, jars: Iterable[Jar]) -> list[Jar]:
    return [jar for jar in jars if not _is_present(folder / jar.name, jar)]


def _is_present(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest() if size == jar.size else ""
    except FileNotFoundError:
        return False
    if digest != jar.sha256:
        raise JarError(
            f"{path} is not the file that clipmill was released with (expected {jar.size} bytes,"
            f" sha256 {jar.sha256}): it was damaged or tampered with. Delete it and start again;"
            " it is then downloaded again."
        )
    return True


@contextmanager
def _locked(path: Path, deadline: FetchDeadline) -> Iterator[None]:
    lock = FileLock(path)
    while not lock.try_acquire():
        deadline.check()
        deadline.cancelled.wait(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
