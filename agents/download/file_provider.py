"""Provides the files of a post: from the storage, or downloaded."""

from collections.abc import Mapping

from msgspec.structs import replace

from agents.download.download_task import DownloadTask
from agents.download.file_adopter import FileAdopter
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import StoredFileIndex, count_lookup
from agents.download.verification import check_sound
from agents.media.checking import no_sound_error
from schemas import ClipmillError, SelectedSource, SelectedVideo, StoredFile


class FileProvider:
    """Provides files.

    Args:
        fetcher: downloads files into the storage.
        index: index of the stored files.
        adopter: describes files that the index does not have.
    """

    def __init__(self, fetcher: FileFetcher, index: StoredFileIndex, adopter: FileAdopter) -> None:
        self._fetcher = fetcher
        self._index = index
        self._adopter = adopter

    async def provide(
        self, row: Mapping[str, StoredFile], source: SelectedSource, task: DownloadTask
    ) -> StoredFile:
        """Return a file from the storage, downloading it if necessary.

        Raises:
            ClipmillError: see `FileFetcher.fetch`.
        """
        format_id = source.format_id
        try:
            file = await self._find(row, source, task.event)
            if file is None:
                made = await self._make_from_stored(row, source, task)
                return check_sound(made or await self._download(source, task), source)
            file = check_sound(file, source)
            task.budget.claim(format_id, file.bytes)
        except ClipmillError as error:
            error.format_id = error.format_id or source.format.format_id
            raise
        self._fetcher.record_stored(task, format_id, file.bytes, reused=True)
        return replace(file, reused=True)

    async def _download(self, source: SelectedSource, task: DownloadTask) -> StoredFile:
        if not task.event.job.options.refresh:
            await self._index.check_not_withheld(task.event.video)
        return await self._fetcher.fetch(source, task)

    async def _make_from_stored(
        self, row: Mapping[str, StoredFile], source: SelectedSource, task: DownloadTask
    ) -> StoredFile | None:
        """Make a file from the stored video; None when it needs none, or it is not stored."""
        if not source.sound_only and not source.tagged:
            return None
        whole = replace(source, sound_only=False, tagged=False)
        video = await self._find(row, whole, task.event)
        if video is None:
            return None
        if source.sound_only and video.audio_codec is None:
            raise no_sound_error(source.format.format_id)
        return await self._fetcher.make_from_stored(video, source, task)

    async def _find(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        known = await self._index.lookup(row, source, event)
        count_lookup("table", known)
        if known is not None:
            return known
        found = await self._index.find_unindexed(row, source, event)
        file = None if found is None else await self._adopter.adopt(found, source, event)
        if file is None:
            found = await self._index.find_adopted(source, event)
            if found is not None:
                file = await self._adopter.adopt(found, source, event, is_adopted=True)
        count_lookup("storage", file)
        return file

    def skip(self, source: SelectedSource, task: DownloadTask) -> None:
        """Count a file as done in the progress, without bytes: it cannot be provided."""
        task.budget.claim(source.format_id, 0)
        self._fetcher.record_stored(task, source.format_id, 0)
