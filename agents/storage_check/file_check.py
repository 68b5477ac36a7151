"""Verifies stored files: reads each one and compares it with the digest of its publication."""

from collections.abc import AsyncIterator
from enum import StrEnum

import msgspec

from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.writing import digest_of


class FileState(StrEnum):
    """Outcome of the verification of a file."""

    OK = "ok"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    GONE = "gone"


class VerifiedFile(msgspec.Struct, frozen=True):
    """A file and its state; ``unknown``: it was published without a digest."""

    uri: str
    bytes: int
    state: FileState


async def verify_files(storage: Storage) -> AsyncIterator[VerifiedFile]:
    """Verify all files, one after the other.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read.
    """
    async for file in storage.files():
        yield VerifiedFile(file.uri, file.bytes, await _state(storage, file))


async def _state(storage: Storage, file: PublishedFile) -> FileState:
    expected = await storage.digest(file.uri)
    if expected is None:
        return FileState.UNKNOWN
    try:
        async with storage.reading(file.uri) as path:
            found = await digest_of(path)
    except FileGoneError:
        return FileState.GONE
    return FileState.OK if found == expected else FileState.DAMAGED
