"""Fetches a track: its manifest, its keys, and its segments, several at a time, into one file."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from agents.download.bounded_gather import gather_bounded
from agents.download.segments.joined_file import JoinedFile, segment_file
from agents.download.segments.requests import KeyCache, TrackRequests, read_manifest
from agents.manifests.segments import Resource, TrackPart
from agents.media.protocol import FilePart
from agents.network.answers import too_large_together
from agents.network.resource import ResourceFetcher
from agents.network.transfer import FetchLimits, OnBytes, Sleep
from agents.storage.disk import run_on_disk
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MediaSource

SEGMENT_CONCURRENCY = 4
"""Concurrent segments per track, as for the files of a post."""

SEGMENTS_READ_MAX = 10_000
"""Of a track that is read into memory: subtitles of 17 hours in segments of six seconds."""

SEGMENTS_IN_FLIGHT = 64
"""Concurrent requests of all tracks of a process, a quarter of the connection pool. Waits are FIFO,
so tracks progress equally."""


class FetchedTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track that came completely.

    Attributes:
        path: of its joined segments.
        parts: see `FilePart`.
        bytes: size of the file.
    """

    path: Path
    parts: tuple[FilePart, ...]
    bytes: int


class TrackFetcher:
    """Fetches tracks; one for all tracks of a process.

    Args:
        sleep: waits before a retry.
    """

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._in_flight = asyncio.Semaphore(SEGMENTS_IN_FLIGHT)
        self._sleep = sleep

    async def fetch(
        self,
        source: MediaSource,
        directory: Path,
        fetcher: ResourceFetcher,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> FetchedTrack:
        """Fetch a track into a directory, or what is missing there of it.

        Args:
            source: with the URL of the manifest.
            directory: see `agents.download.segments.joined_file`.
            fetcher: of one egress.
            hosts: permitted host suffixes of manifest, keys and segments.
            limits: of the track.
            on_bytes: called first with the bytes that are there already, then for every chunk;
                the total is not known.

        Raises:
            ClipmillError: as `MediaFetcher.fetch`; as the parsers of `agents.manifests`;
                ``content.damaged``, a segment cannot be decrypted.
        """
        requests = TrackRequests(source, fetcher, hosts, limits, self._in_flight, self._sleep)
        parts = await read_manifest(requests)
        resources = [each for part in parts for each in part.resources]
        opened = partial(JoinedFile, directory, _fingerprint(resources))
        joined = await run_on_disk(opened, directory)
        on_bytes(joined.bytes_on_disk, None)
        download = _TrackDownload(joined, requests, on_bytes)
        missing = [
            partial(download.fetch, index, each)
            for index, each in enumerate(resources)
            if not joined.has(index)
        ]
        await gather_bounded(missing, SEGMENT_CONCURRENCY)
        return await run_on_disk(partial(_fetched, joined, parts), directory)

    async def read(
        self,
        source: MediaSource,
        fetcher: ResourceFetcher,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
    ) -> list[bytes]:
        """Return the bytes of a small file, or of each segment of a small track.

        Raises:
            ClipmillError: as `fetch`; ``content.unsupported``, the segments are encrypted or too
                many; ``request.too_large``.
        """
        requests = TrackRequests(source, fetcher, hosts, limits, self._in_flight, self._sleep)
        if source.format.protocol == "https":
            body, _ = await requests.read(source.url, bytes_max=limits.max_bytes)
            return [body]
        parts = await read_manifest(requests)
        resources = [each for part in parts for each in part.resources]
        if len(resources) > SEGMENTS_READ_MAX or any(each.key for each in resources):
            reason = f"its playlist is encrypted, or has more than {SEGMENTS_READ_MAX} segments"
            raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, reason, reason=reason)
        reader = _SegmentReader(requests)
        calls = [partial(reader.read, each) for each in resources]
        return await gather_bounded(calls, SEGMENT_CONCURRENCY)


class _SegmentReader:
    """Reads the segments of one small track into memory."""

    def __init__(self, requests: TrackRequests) -> None:
        self._requests = requests
        self._bytes = 0

    async def read(self, resource: Resource) -> bytes:
        return await self._requests.retried(lambda: self._attempt(resource))

    async def _attempt(self, resource: Resource) -> bytes:
        body = bytearray()
        limit = self._requests.limits.max_bytes

        async def write(chunk: bytes) -> None:
            self._bytes += len(chunk)
            if self._bytes > limit:
                raise too_large_together(limit)
            body.extend(chunk)

        try:
            await self._requests.stream(resource, write)
        except BaseException:
            self._bytes -= len(body)
            raise
        return bytes(body)


class _TrackDownload:
    """The segments of one track.

    Args:
        joined: the file that they go to.
        requests: of the track.
        on_bytes: receives progress.
    """

    def __init__(self, joined: JoinedFile, requests: TrackRequests, on_bytes: OnBytes) -> None:
        self._joined = joined
        self._requests = requests
        self._on_bytes = on_bytes
        self._keys = KeyCache(requests)
        self._joining = asyncio.Lock()
        self._received = joined.bytes_on_disk

    async def fetch(self, index: int, resource: Resource) -> None:
        key = None if resource.key is None else await self._keys.get(resource.key.url)
        await self._requests.retried(lambda: self._attempt(index, resource, key))
        async with self._joining:
            await run_on_disk(partial(self._joined.finish, index), self._joined.path.parent)

    async def _attempt(self, index: int, resource: Resource, key: bytes | None) -> None:
        received = 0
        decryptor = None
        if key is not None and resource.key is not None:
            decryptor = _SegmentDecryptor(key, resource.key.iv)
        async with segment_file(self._joined.partial_path(index)) as file:

            async def write(chunk: bytes) -> None:
                nonlocal received
                received += len(chunk)
                self._count(len(chunk))
                await file.write(chunk if decryptor is None else decryptor.feed(chunk))

            try:
                await self._requests.stream(resource, write)
            except BaseException:
                self._received -= received
                raise
            if decryptor is not None:
                await file.write(decryptor.finish())

    def _count(self, size: int) -> None:
        self._received += size
        if self._received > self._requests.limits.max_bytes:
            raise too_large_together(self._requests.limits.max_bytes)
        self._on_bytes(self._received, None)


class _SegmentDecryptor:
    """Decrypts a segment as it arrives: AES-128 in CBC mode (RFC 8216, section 4.3.2.4).

    Args:
        key: `agents.download.segments.requests.KEY_BYTES` bytes.
        iv: initialization vector, 16 bytes.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._cipher = Cipher(AES128(key), CBC(iv)).decryptor()
        self._padding = PKCS7(AES128.block_size).unpadder()

    def feed(self, chunk: bytes) -> bytes:
        return self._padding.update(self._cipher.update(chunk))

    def finish(self) -> bytes:
        """Return the last bytes.

        Raises:
            ClipmillError: ``content.damaged``, the key does not fit, or the segment is cut.
        """
        try:
            return self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        except ValueError:
            reason = "a segment cannot be decrypted with its key"
            message = f"the stream that came is damaged: {reason}"
            raise ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason) from None


def _fetched(joined: JoinedFile, parts: Sequence[TrackPart]) -> FetchedTrack:
    joined.join_due()
    firsts = [0, *accumulate(len(part.resources) for part in parts)]
    positions = [0.0, *accumulate(part.seconds for part in parts)]
    offsets = joined.offsets(firsts)
    shifts = [part.shift_seconds for part in parts]
    return FetchedTrack(
        path=joined.path,
        parts=tuple(map(FilePart, offsets[:-1], shifts, positions)),
        bytes=offsets[-1],
    )


def _fingerprint(resources: Sequence[Resource]) -> str:
    """Return what identifies the segments across readings of the page.

    Hosts, paths and parameters of an address may be signed again each time; its file name is not.
    """
    digest = hashlib.sha256(_boot_id().encode())
    for each in resources:
        name = PurePosixPath(urlsplit(each.url).path).name
        vector = None if each.key is None else each.key.iv
        digest.update(f"{name} {each.byte_range} {vector!r}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


@cache
def _boot_id() -> str:
    """Return the id of the running system: what was not synced is lost when it ends."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
