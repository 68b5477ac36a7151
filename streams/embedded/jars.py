"""The cache of Kafka's jars: fetched once, verified before every use, shared by all brokers.

`python -m streams.embedded.jars` fills the cache ahead of time, for an image or an offline machine.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import requests
from jgo.constants import MAVEN_CENTRAL_URL
from urllib3.util import Retry

from streams.embedded.file_lock import FileLock
from streams.embedded.pinning import Jar, pinned_jars

# 46 jars, 45 MB: measured 1.2 s with 4 connections, no better with 16.
_CONNECTIONS = 4
_CHUNK_BYTES = 1 << 16
_ANSWER_SECONDS = 20.0
# Retry-After is not honoured: a server could make the start wait for hours.
_RETRY = Retry(
    total=3,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    respect_retry_after_header=False,
)
_LOCK_POLL_SECONDS = 0.05


class JarError(Exception):
    """A jar of the Kafka server cannot be fetched, or is not the file that was pinned."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up fetching: after so many seconds, or as soon as `cancelled` is set."""

    seconds: float = 900.0
    cancelled: threading.Event = field(default_factory=threading.Event)
    _started: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raises JarError when it is time to give up."""
        if self.cancelled.is_set():
            raise JarError("fetching the Kafka jars was cancelled")
        if time.monotonic() - self._started > self.seconds:
            raise JarError(f"fetching the Kafka jars took longer than {self.seconds:g} s")


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/clipmill`, else `~/.cache/clipmill` (XDG ignores relative paths)."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    return base / "clipmill"


def ensure_jars(
    cache_dir: Path,
    jars: Iterable[Jar] | None = None,
    *,
    repository: str = MAVEN_CENTRAL_URL,
    patience: Patience | None = None,
) -> tuple[Path, ...]:
    """Paths of all jars, each verified just now; the missing ones are fetched first.

    Needs no network when the cache is complete. Safe to call in several processes at once.

    Args:
        cache_dir: the jars lie in its folder `kafka-jars`.
        jars: what is wanted; by default what this release of clipmill pins.
        repository: base URL of a Maven repository.
        patience: bounds the fetching.

    Raises:
        JarError: a jar cannot be fetched or differs from its pinned size or sha256.
    """
    wanted = tuple(pinned_jars() if jars is None else jars)
    folder = cache_dir / "kafka-jars"
    if _missing(folder, wanted):
        patience = patience or Patience()
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock", patience):
            _fetch_all(folder, _missing(folder, wanted), repository, patience)
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
            " it is then downloaded anew."
        )
    return True


@contextmanager
def _locked(path: Path, patience: Patience) -> Iterator[None]:
    lock = FileLock(path)
    while not lock.try_acquire():
        patience.check()
        patience.cancelled.wait(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _fetch_all(folder: Path, jars: list[Jar], repository: str, patience: Patience) -> None:
    for abandoned in folder.glob("*.part"):
        abandoned.unlink()
    with requests.Session() as session, ThreadPoolExecutor(_CONNECTIONS) as pool:
        session.mount(repository, requests.adapters.HTTPAdapter(max_retries=_RETRY))
        fetch = partial(_fetch, session, repository, folder, patience)
        futures = [pool.submit(fetch, jar) for jar in jars]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(
    session: requests.Session, repository: str, folder: Path, patience: Patience, jar: Jar
) -> None:
    url = f"{repository}/{jar.path}"
    with NamedTemporaryFile(dir=folder, prefix=jar.name, suffix=".part", delete=False) as part:
        temporary = Path(part.name)
        try:
            for chunk in _verified(_chunks(session, url, folder, patience), url, jar):
                part.write(chunk)
            part.flush()
            os.fsync(part.fileno())
            temporary.replace(folder / jar.name)
        finally:
            temporary.unlink(missing_ok=True)


def _chunks(
    session: requests.Session, url: str, folder: Path, patience: Patience
) -> Iterator[bytes]:
    patience.check()
    try:
        with session.get(url, stream=True, timeout=_ANSWER_SECONDS) as response:
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK_BYTES):
                patience.check()
                yield chunk
    except requests.RequestException as error:
        raise JarError(
            f"cannot download {url}: {error}. The first start of the embedded broker needs this"
            " site; without network, copy the folder of a machine that has the jars to"
            f" {folder}."
        ) from error


def _verified(chunks: Iterator[bytes], url: str, jar: Jar) -> Iterator[bytes]:
    digest = hashlib.sha256()
    received = 0
    for chunk in chunks:
        received += len(chunk)
        digest.update(chunk)
        if received > jar.size:
            break
        yield chunk
    if received != jar.size or digest.hexdigest() != jar.sha256:
        raise JarError(
            f"{url} sent something else than {jar.name} as clipmill was released with (expected"
            f" {jar.size} bytes, sha256 {jar.sha256}); nothing was kept. A proxy or mirror on the"
            " way changes downloads: reach the site without it."
        )


def main() -> None:
    """Fill the cache and print where it is."""
    sys.stdout.write(f"{ensure_jars(default_cache_dir())[0].parent}\n")


if __name__ == "__main__":
    main()
