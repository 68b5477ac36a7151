"""Describes a file that is found in the storage, but not in the index."""

import logging
from pathlib import Path

from msgspec.structs import replace

from agents.download.adopted_files import is_as_selected
from agents.download.download_task import output_format
from agents.download.verification import FileVerifier, extension, stored_file
from agents.network.download import Fetched, media_type
from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.names import ADOPTED
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
        self,
        found: PublishedFile,
        source: SelectedSource,
        event: SelectedVideo,
        *,
        is_adopted: bool = False,
    ) -> StoredFile | None:
        """Verify a file found in the storage and describe it; None: it must be downloaded again.

        That is the case when it does not match the page (any more), or was removed meanwhile; and
        when it is not what the source is, of a file of which only the post is known.

        Raises:
            ClipmillError: ``system.storage``, it cannot be read.
        """
        try:
            async with self._storage.reading(found.uri) as path:
                expected = _expected(source, path.suffix[1:], is_adopted=is_adopted)
                file = await self._adopt(found, path, expected, event)
        except FileGoneError:
            logger.warning("%s is downloaded again: it was removed just now", found.uri)
            return None
        if is_adopted and file and not is_as_selected(file, source, event.job.options):
            logger.info("%s is not what is requested, which is downloaded", found.uri)
            return None
        return file

    async def _adopt(
        self, found: PublishedFile, path: Path, expected: MediaSource, event: SelectedVideo
    ) -> StoredFile | None:
        digest = await digest_of(path)
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


def _expected(source: SelectedSource, extension: str, *, is_adopted: bool) -> MediaSource:
    expected = output_format(source, extension)
    if is_adopted:
        expected = replace(expected, format_id=ADOPTED, watermarked=False)
    return MediaSource(format=expected, url=source.url)
