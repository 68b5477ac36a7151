"""Adopts files: probes each one, and publishes it under the ids of its post."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from agents.media.checking import find_mismatch
from agents.media.containers import extension_of
from agents.media.prober import Probe
from agents.media.protocol import MediaFacts
from agents.storage import PublishedFile, Storage
from agents.storage.disk import run_on_disk
from agents.storage.names import ADOPTED
from agents.storage.path_layout import path_of_uri
from agents.storage.withheld_posts import release
from agents.storage.writing import digest_of
from agents.storage_check.adoption.candidates import IdentifiedFile
from agents.storage_check.adoption.report import AdoptionResult, AdoptionState, RefusedError
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import MEDIA_TYPES, VideoFormat

Placement = Literal["link", "move", "copy"]
"""Whether the storage shares the file with the folder, takes it out, or has its own."""

_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})
"""Another file system, one without hard links, too many of them, or another user's file."""


class CandidateAdopter:
    """Adopts files into a storage.

    Args:
        storage: target of the files.
        probe: reads the properties of files.
        placement: see `Placement`.
        keep_free_bytes: on the disk of the workspaces.
    """

    def __init__(
        self, storage: Storage, probe: Probe, *, placement: Placement, keep_free_bytes: int
    ) -> None:
        self._storage = storage
        self._probe = probe
        self._placement = placement
        self._keep_free_bytes = keep_free_bytes

    async def adopt(self, candidate: IdentifiedFile, *, dry_run: bool) -> AdoptionResult:
        """Adopt a file, unless it is stored already.

        Killed at any moment, the file is where it was, in the storage, or both; its workspace is
        removed by the next process.

        Raises:
            RefusedError: with the reason.
            ClipmillError: ``system.disk_full`` or ``system.storage``.
            ProcessUnavailableError: files cannot be probed at present.
        """
        if dry_run:
            await self._examine(candidate.path, candidate)
            return _result(candidate, AdoptionState.ADOPTED)
        async with self._storage.workspace() as directory:
            path = directory / "adopted"
            check_space = await self._space_check(candidate)
            put = partial(place, candidate.path, path, self._placement, check_space)
            await run_on_disk(put, directory)
            return await self._publish(path, candidate)

    async def _publish(self, path: Path, candidate: IdentifiedFile) -> AdoptionResult:
        for format_id in _possible_formats(candidate.ids.format_id):
            linked = await self._find(candidate, format_id)
            if linked is not None and await asyncio.to_thread(_is_same, path, linked):
                return await self._finish(candidate, AdoptionState.STORED, linked.uri)
        facts = await self._examine(path, candidate)
        format_id = _format_id(candidate.ids.format_id, facts)
        digest, found = await digest_of(path), await self._find(candidate, format_id)
        if found is not None:
            if await self._storage.digest(found.uri) != digest:
                raise RefusedError(f"another file of its post is stored, {found.uri}")
            return await self._finish(candidate, AdoptionState.STORED, found.uri)
        # Its age counts from now: retention must not remove it at once.
        await run_on_disk(partial(os.utime, path), path.parent)
        await self._storage.link_duplicate(path, digest)
        uri = await self._storage.publish(
            path,
            platform=candidate.ids.platform,
            video_id=candidate.ids.video_id,
            format_id=format_id,
            extension=extension_of(facts, candidate.path.suffix[1:]),
            sha256=digest,
            details=candidate.details,
        )
        return await self._finish(candidate, AdoptionState.ADOPTED, uri)

    async def _find(self, candidate: IdentifiedFile, format_id: str) -> PublishedFile | None:
        ids = candidate.ids
        return await self._storage.find(
            platform=ids.platform, video_id=ids.video_id, format_id=format_id
        )

    async def _finish(
        self, candidate: IdentifiedFile, state: AdoptionState, uri: str
    ) -> AdoptionResult:
        await release(self._storage.records, candidate.ids.platform, candidate.ids.video_id)
        if self._placement == "move":
            remove = partial(_remove_unchanged, candidate)
            await run_on_disk(remove, candidate.path.parent)
        return _result(candidate, state, uri)

    async def _examine(self, path: Path, candidate: IdentifiedFile) -> MediaFacts:
        """Probe a file.

        Raises:
            RefusedError: it is no media, damaged, or a picture of which only the post is known.
        """
        facts = await self._probe.probe(path)
        if not isinstance(facts, MediaFacts):
            raise RefusedError(f"it cannot be read as media ({facts.reason})")
        extension = extension_of(facts, candidate.path.suffix[1:])
        kind = MEDIA_TYPES[extension].partition("/")[0]
        if kind == "image" and candidate.ids.format_id == ADOPTED:
            raise RefusedError("it is a picture, and its name does not say which one of its post")
        mismatch = find_mismatch(facts, _promised(facts, extension, kind), None)
        if mismatch is not None:
            raise RefusedError(f"it is damaged: {mismatch}")
        return facts

    async def _space_check(self, candidate: IdentifiedFile) -> Callable[[], None]:
        free = await self._storage.free_bytes()

        def check() -> None:
            if free - candidate.status.st_size < self._keep_free_bytes:
                raise ClipmillError(
                    ErrorCode.SYSTEM_DISK_FULL,
                    f"{candidate.path} is to be copied, {free} bytes of disk space are free and"
                    f" {self._keep_free_bytes} must remain; free space, or lower"
                    " download.free_bytes",
                )

        return check


def _promised(facts: MediaFacts, extension: str, kind: str) -> VideoFormat:
    return VideoFormat(
        format_id=ADOPTED,
        container=extension,
        video_codec=facts.video_codec,
        audio_codec=facts.audio_codec,
        picture=1 if kind == "image" else None,
    )


def _possible_formats(format_id: str) -> tuple[str, ...]:
    return (ADOPTED, f"{ADOPTED}~sound") if format_id == ADOPTED else (format_id,)


def _format_id(format_id: str, facts: MediaFacts) -> str:
    """Return the format id of a file; sound alone is a file of its own."""
    is_sound = format_id == ADOPTED and facts.video_codec is None
    return f"{format_id}~sound" if is_sound else format_id


def _is_same(path: Path, found: PublishedFile) -> bool:
    """Return whether a file has been adopted by a hard link already."""
    if not found.uri.startswith("file:"):
        return False
    try:
        return os.path.samestat(path.lstat(), os.lstat(path_of_uri(found.uri)))
    except OSError:
        return False


def _result(
    candidate: IdentifiedFile, state: AdoptionState, uri: str | None = None
) -> AdoptionResult:
    return AdoptionResult(
        path=str(candidate.path),
        state=state,
        uri=uri,
        video_key=f"{candidate.ids.platform}:{candidate.ids.video_id}",
        bytes=candidate.status.st_size,
    )


def _remove_unchanged(candidate: IdentifiedFile) -> None:
    """Remove a file from its folder, unless it was replaced or written to meanwhile."""
    with suppress(FileNotFoundError):
        before, now = candidate.status, candidate.path.lstat()
        if os.path.samestat(before, now) and before.st_size == now.st_size:
            candidate.path.unlink()


def place(
    source: Path, target: Path, placement: Placement, check_space: Callable[[], None]
) -> None:
    """Make ``target`` the same regular file as ``source``, or a copy of it.

    Args:
        source: a file of the folder, which may be replaced by another one meanwhile.
        target: does not exist yet.
        placement: a copy is also made where a hard link is impossible.
        check_space: raises when there is no space for a copy.

    Raises:
        RefusedError: the source is no regular file (any more), or cannot be read.
        OSError: the target cannot be written.
    """
    if placement == "copy" or not _link(source, target):
        check_space()
        _copy(source, target)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(target.lstat().st_mode):
        raise RefusedError("it is not a regular file")
    return True


def _copy(source: Path, target: Path) -> None:
    # A FIFO without a writer would block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(source, flags)
    except OSError as error:
        raise RefusedError(f"it cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb"):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RefusedError("it is not a regular file")
        with target.open("xb") as copy:
            # Not more, should it grow meanwhile.
            remaining = os.fstat(descriptor).st_size
            while remaining and (sent := os.sendfile(copy.fileno(), descriptor, None, remaining)):
                remaining -= sent
