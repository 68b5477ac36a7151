"""Provides the files of a post: from the storage, or downloaded.

A file of the storage is described by the row of its post in the index. One without a row is
verified and described again; so is an adopted file, of which the post is known and not the format.
``clipmill files adopt`` stores those, such as files that yt-dlp downloaded. An adopted file takes
the place of the selected one when it is what the request asks for: of the size that would be
downloaded, or for the best quality a larger one, and of the container and codec that the request
names.
"""

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath

from msgspec.structs import replace

from agents.download.download_task import DownloadTask, output_format
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import StoredFileIndex, count_lookup
from agents.download.storage_guard import STORAGE_ERROR_CODES
from agents.download.verification import FileVerifier, check_sound, extension, stored_file
from agents.media.checking import no_sound_error
from agents.network.download import Fetched, media_type
from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.names import ADOPTED
from agents.storage.withheld_posts import find_withheld
from agents.storage.writing import digest_of
from schemas import (
    ClipmillError,
    ErrorCode,
    MediaSource,
    SelectedSource,
    SelectedVideo,
    StoredFile,
    VideoRef,
)
from schemas.request import Options

logger = logging.getLogger(__name__)

SIZE_TOLERANCE = 0.02
"""Encoders round the sides to multiples of 2 to 16."""


class FileProvider:
    """Provides files.

    Args:
        fetcher: downloads files into the storage.
        index: index of the stored files.
        storage: of the files.
        verifier: probes files that the index does not have.
    """

    def __init__(
        self,
        fetcher: FileFetcher,
        index: StoredFileIndex,
        storage: Storage,
        verifier: FileVerifier,
    ) -> None:
        self._fetcher = fetcher
        self._index = index
        self._storage = storage
        self._verifier = verifier

    async def provide(
        self, row: Mapping[str, StoredFile], source: SelectedSource, task: DownloadTask
    ) -> StoredFile:
        """Return a file from the storage, downloading it if necessary.

        Raises:
            ClipmillError: ``content.withheld``; see `FileFetcher.fetch`.
        """
        try:
            file = await self._find(row, source, task.event)
            if file is None:
                made = None
                if source.sound_only or source.tagged:
                    made = await self._make_from_stored(row, source, task)
                if made is None:
                    if not task.event.job.options.refresh:
                        await self._check_not_withheld(task.event.video)
                    made = await self._fetcher.fetch(source, task)
                return check_sound(made, source)
            file = check_sound(file, source)
            task.budget.claim(source.format_id, file.bytes)
        except ClipmillError as error:
            error.format_id = error.format_id or source.format.format_id
            raise
        self._fetcher.record_stored(task, source.format_id, file.bytes, reused=True)
        return replace(file, reused=True)

    def skip(self, source: SelectedSource, task: DownloadTask) -> None:
        """Count a file as done in the progress, without bytes: it cannot be provided."""
        task.budget.claim(source.format_id, 0)
        self._fetcher.record_stored(task, source.format_id, 0)

    async def _make_from_stored(
        self, row: Mapping[str, StoredFile], source: SelectedSource, task: DownloadTask
    ) -> StoredFile | None:
        """Make the sound or the tagged file from the stored video; None when it is not stored."""
        whole = replace(source, sound_only=False, tagged=False)
        video = await self._find(row, whole, task.event)
        if video is None:
            return None
        if source.sound_only and video.audio_codec is None:
            raise no_sound_error(source.format.format_id)
        return await self._fetcher.make_from_stored(video, source, task)

    async def _check_not_withheld(self, video: VideoRef) -> None:
        post = await find_withheld(self._storage.records, video.platform, video.id)
        if post is not None:
            day = f"{post.since:%Y-%m-%d}"
            reason = {
                "removed": f"removed on {day}",
                "archived": f"listed in a download archive that was adopted on {day}",
            }[post.cause]
            message = f"{video.key} is not downloaded: {reason}"
            raise ClipmillError(ErrorCode.CONTENT_WITHHELD, message, reason=reason)

    async def _find(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        options = event.job.options
        known = await self._index.lookup(row, source, event)
        if known and known.format_id == ADOPTED and not is_as_selected(known, source, options):
            known = None
        count_lookup("table", known)
        if known is not None:
            return known
        found = await self._index.find_unindexed(row, source, event)
        file = None if found is None else await self._describe(found, source, event)
        adopted = adopted_id(source, event)
        if file is None and adopted is not None:
            found = await self._index.find_adopted(adopted, event)
            file = None if found is None else await self._describe(found, source, event, ADOPTED)
            if file is not None and not is_as_selected(file, source, options):
                logger.info("%s is not what is requested, which is downloaded", file.uri)
                file = None
        count_lookup("storage", file)
        return file

    async def _describe(
        self,
        found: PublishedFile,
        source: SelectedSource,
        event: SelectedVideo,
        format_id: str | None = None,
    ) -> StoredFile | None:
        """Verify and describe a file without a row; None: it must be downloaded again.

        That is the case when it does not match the page (any more), or was removed meanwhile.

        Args:
            found: the file.
            source: what it is used for.
            event: has the page.
            format_id: `ADOPTED` for an adopted file.

        Raises:
            ClipmillError: ``system.storage``, it cannot be read.
        """
        try:
            async with self._storage.reading(found.uri) as path:
                chosen = output_format(source, path.suffix[1:])
                if format_id is not None:
                    chosen = replace(chosen, format_id=format_id, watermarked=False)
                expected = MediaSource(format=chosen, url=source.url)
                digest = await digest_of(path)
                facts = await self._verifier.verify(path, expected, event.info)
        except FileGoneError:
            logger.warning("%s is downloaded again: it was removed just now", found.uri)
            return None
        except ClipmillError as error:
            if error.code in STORAGE_ERROR_CODES:
                raise
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


def adopted_id(source: SelectedSource, event: SelectedVideo) -> str | None:
    """Return the file id of an adopted file that may take a source's place; None if none may.

    Only one file of a post is adopted: it is none of its pictures and not its song, and a
    ``refresh`` does not use it.
    """
    chosen = source.format
    is_other = chosen.picture is not None or chosen.motion or chosen.song
    if is_other or source.tagged or event.job.options.refresh:
        return None
    return f"{ADOPTED}{'~sound' * source.sound_only}"


def is_as_selected(file: StoredFile, source: SelectedSource, options: Options) -> bool:
    """Return whether a file is what would be downloaded for a source; False if it is not probed."""
    if not file.probed:
        return False
    if source.sound_only:
        return file.audio_codec is not None
    if options.container not in ("any", PurePosixPath(file.uri).suffix[1:]):
        return False
    if options.codec not in ("any", file.codec):
        return False
    expected = source.format.smaller_side
    found = min(filter(None, (file.width, file.height)), default=0)
    is_large_enough = found >= expected * (1 - SIZE_TOLERANCE)
    is_small_enough = options.quality == "best" or found <= expected * (1 + SIZE_TOLERANCE)
    return not expected or (is_large_enough and is_small_enough)
