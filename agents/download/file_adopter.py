"""Describes a file that is found in the storage, but not in the index."""

import logging
from pathlib import Path

from agents.download.download_task import output_format
from agents.download.verification import FileVerifier, extension, stored_file
from agents.network.download import Fetched, media_type
from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.writing import digest_of
from schemas import ClipmillError, MediaSource, SelectedSource, SelectedVideo, StoredFile

logger = logging.getLogger(__name__)


class FileAdopter:
    """Verifies and describes files of the storage.

    Args:
        storage: of the files.
        verifier: probes the files.
    """

    def __init__(self, storage: Storage, verifier: FileVerifier) -> None:
        self._storage = storage
        self._verifier = verifier

    async def adopt(
        self, found: PublishedFile, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        """Verify a file found in the storage and describe it; None: it must be downloaded again.

        That is the case when it does not match the page (any more), or was removed meanwhile.

        Raises:
            ClipmillError: ``system.storage``, it cannot be read.
        """
        try:
            async with self._storage.reading(found.uri) as path:
                return await self._adopt(found, path, source, event)
        except FileGoneError:
            logger.warning("%s is downloaded again: it was removed just now", found.uri)
            return None

    async def _adopt(
        self, found: PublishedFile, path: Path, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        digest = await digest_of(path)
        expected = MediaSource(format=output_format(source, path.suffix[1:]), url=source.url)
        try:
            facts = await self._verifier.verify(path, expected, event.info)
        except ClipmillError as error:
            logger.warning("%s is downloaded again: %s", found.uri, error)
            return None
        if not found.uri.endswith(f".{extension(expected, facts)}"):
            logger.warning(
                "%s is downloaded again: its extension is not that of its kind", found.uri
            )
            return None
        mime_type = media_type(None, expected)
        fetched = Fetched(bytes=found.bytes, sha256=digest, mime_type=mime_type)
        return stored_file(expected, event.info, fetched, found.uri, facts)
