"""Verified download of Kafka's jars from a Maven repository, with retries."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import requests
from jgo.constants import MAVEN_CENTRAL_URL
from urllib3.util import Retry

from streams.broker.pinning import FetchDeadline, Jar, JarError

# 46 jars, 45 MB: measured 1.2 s with 4 connections, no better with 16.
_CONNECTIONS = 4
_CHUNK_BYTES = 1 << 16
_RESPONSE_SECONDS = 20.0
# Retry-After is ignored: a server could delay the start for hours.
_RETRY = Retry(
    total=3,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    respect_retry_after_header=False,
)


def fetch_all(
    folder: Path, jars: list[Jar], deadline: FetchDeadline, repository: str | None = None
) -> None:
    """Download jars into a folder; each gets its name only after verification.

    Raises:
        JarError: a jar cannot be downloaded in time, or is not the pinned file.
    """
    repository = repository or MAVEN_CENTRAL_URL
    for abandoned in folder.glob("*.part"):
        abandoned.unlink()
    with requests.Session() as session, ThreadPoolExecutor(_CONNECTIONS) as pool:
        session.mount(repository, requests.adapters.HTTPAdapter(max_retries=_RETRY))
        fetch = partial(_fetch, session, repository, folder, deadline)
        futures = [pool.submit(fetch, jar) for jar in jars]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(
    session: requests.Session, repository: str, folder: Path, deadline: FetchDeadline, jar: Jar
) -> None:
    url = f"{repository}/{jar.path}"
    with NamedTemporaryFile(dir=folder, prefix=jar.name, suffix=".part", delete=False) as part:
        temporary = Path(part.name)
        try:
            for chunk in _verified(_chunks(session, url, folder, deadline), url, jar):
                part.write(chunk)
            part.flush()
            os.fsync(part.fileno())
            temporary.replace(folder / jar.name)
        finally:
            temporary.unlink(missing_ok=True)


def _chunks(
    session: requests.Session, url: str, folder: Path, deadline: FetchDeadline
) -> Iterator[bytes]:
    deadline.check()
    try:
        with session.get(url, stream=True, timeout=_RESPONSE_SECONDS) as response:
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK_BYTES):
                deadline.check()
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
            f"{url} sent another {jar.name} than the one that clipmill was released with (expected"
            f" {jar.size} bytes, sha256 {jar.sha256}); it was deleted. A proxy or mirror"
            " changes downloads: connect to the site without it."
        )
