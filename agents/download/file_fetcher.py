"""Downloads one file of a post through the gate, verifies it, and publishes it atomically."""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import replace

from agents.download.download_task import (
    Downloaded,
    DownloadPart,
    DownloadTask,
    PreparedFile,
    output_format,
)
from agents.download.post_metadata import tags_of
from agents.download.source_download import SourceDownloader, Workspace
from agents.download.storage_guard import StorageGuard
from agents.download.verification import FileVerifier, extension, stored_file
from agents.media.protocol import Streams
from agents.media.remuxer import Remux
from agents.network.download import Fetched, media_type
from agents.storage import FileGoneError, PostDetails, Storage
from agents.storage.writing import digest_of
from schemas import (
    ClipmillError,
    ErrorCode,
    MediaSource,
    SelectedSource,
    SelectedVideo,
    StoredFile,
)
from streams.observability.metrics import BYTES

logger = logging.getLogger(__name__)


class FileFetcher:
    """Puts files into the storage.

    Args:
        sources: downloads the sources of a file.
        storage: target of the files.
        storage_guard: pauses the intake while the storage fails.
        verifier: probes files before they are published.
        remuxer: joins and extracts tracks.
    """

    def __init__(
        self,
        sources: SourceDownloader,
        storage: Storage,
        *,
        storage_guard: StorageGuard,
        verifier: FileVerifier,
        remuxer: Remux,
    ) -> None:
        self._sources = sources
        self._storage = storage
        self._storage_guard = storage_guard
        self._verifier = verifier
        self._remuxer = remuxer

    async def fetch(self, source: SelectedSource, task: DownloadTask) -> StoredFile:
        """Download a file, or the parts from which it is remuxed, and publish it.

        Publication is atomic. A killed worker leaves partial files only in its workspace, which the
        next process removes, and unfinished tracks, which the next attempt continues.

        Raises:
            ClipmillError: the platform, the downloader, the gate, the remuxer or the storage
                failed; ``content.damaged``: the file does not match the page.
        """
        event = task.event
        await self._storage_guard.check()
        async with AsyncExitStack() as resources:
            directory = await resources.enter_async_context(self._storage.workspace())
            prepared = await self._make(source, task, Workspace(directory, resources))
            if source.tagged:
                prepared = await self._tag(prepared, source, task)
            file = await self._publish(prepared, source, event)
        BYTES.labels(event.video.platform).inc(prepared.received_bytes)
        self.record_stored(task, source.format_id, prepared.received_bytes)
        return file

    async def make_from_stored(
        self, video: StoredFile, source: SelectedSource, task: DownloadTask
    ) -> StoredFile | None:
        """Publish the sound of a stored video, or the video with tags.

        None when it cannot be tagged, or was removed meanwhile.

        Raises:
            ClipmillError: the remuxer or the storage failed.
        """
        await self._storage_guard.check()
        try:
            async with (
                self._storage.reading(video.uri) as path,
                self._storage.workspace() as directory,
            ):
                output = directory / "made"
                if source.sound_only:
                    extension: str | None = await self._remuxer.extract_audio(path, output)
                else:
                    extension = await self._write_tagged(path, output, task.event)
                if extension is None:
                    return None
                prepared = await self._verify_made(source, task, output, extension, received=0)
                file = await self._publish(prepared, source, task.event)
        except FileGoneError:
            logger.warning("%s is downloaded again: it was removed just now", video.uri)
            return None
        self.record_stored(task, source.format_id, file.bytes)
        return file

    async def _tag(
        self, prepared: PreparedFile, source: SelectedSource, task: DownloadTask
    ) -> PreparedFile:
        """Embed the tags of the post if the file can have some."""
        output = prepared.path.with_name("tagged")
        extension = await self._write_tagged(prepared.path, output, task.event)
        if extension is None:
            return prepared
        received = prepared.received_bytes
        return await self._verify_made(source, task, output, extension, received=received)

    async def _write_tagged(self, video: Path, output: Path, event: SelectedVideo) -> str | None:
        """Write a video with tags; return the extension, None when it cannot have any."""
        try:
            return await self._remuxer.tag(video, output, tags_of(event.info))
        except ClipmillError as error:
            if error.code not in (ErrorCode.CONTENT_UNSUPPORTED, ErrorCode.CONTENT_DAMAGED):
                raise
            logger.warning("%s has no embedded metadata: %s", event.video.key, error)
            return None

    async def _publish(
        self, prepared: PreparedFile, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile:
        duplicate = await self._storage.link_duplicate(prepared.path, prepared.fetched.sha256)
        uri = await self._storage.publish(
            prepared.path,
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=source.file_id,
            extension=extension(prepared.source, prepared.facts),
            sha256=prepared.fetched.sha256,
            details=PostDetails.of(event.info),
        )
        file = stored_file(prepared.source, event.info, prepared.fetched, uri, prepared.facts)
        return replace(file, duplicate_of=None if duplicate == uri else duplicate)

    async def _make(
        self, source: SelectedSource, task: DownloadTask, workspace: Workspace
    ) -> PreparedFile:
        """Download what a file consists of, and make it if that is not the file itself."""
        output = workspace.directory / "made"
        # The sound first: its format may turn out to have none, and the picture is larger.
        sound = None
        if source.sound_from is not None:
            try:
                part = DownloadPart(source.sound_from, source)
                sound = await self._download(part, task, workspace, "sound")
            except ClipmillError as error:
                # The retry must not avoid the format of the picture.
                error.format_id = source.sound_from.format.format_id
                raise
        bytes_before = sound.bytes if sound else 0
        part = DownloadPart(source, source, bytes_before)
        media = await self._download(part, task, workspace, "media")
        received = bytes_before + media.bytes
        if media.whole is not None and sound is None and not source.sound_only:
            return PreparedFile(source, media.path, media.whole, media.facts, received)
        try:
            extension = await self._remux(media, sound, output, sound_only=source.sound_only)
            return await self._verify_made(source, task, output, extension, received=received)
        except ClipmillError as error:
            # The pair is at fault: each of the two files may be valid by itself.
            error.format_id = source.format_id
            raise

    async def _remux(
        self, media: Downloaded, sound: Downloaded | None, output: Path, *, sound_only: bool
    ) -> str:
        """Make the file from what was downloaded for it; return its extension."""
        if media.is_track or (sound is not None and sound.is_track):
            picture_only = sound is not None
            streams: Streams = "picture" if picture_only else "sound" if sound_only else "all"
            tracks = [media.as_track(streams)] + ([sound.as_track("sound")] if sound else [])
            return await self._remuxer.join(tracks, output)
        if sound is None:
            return await self._remuxer.extract_audio(media.path, output)
        return await self._remuxer.mux(media.path, sound.path, output)

    async def _download(
        self, part: DownloadPart, task: DownloadTask, workspace: Workspace, name: str
    ) -> Downloaded:
        """Download a source. Whole files are verified; tracks are, when they are joined."""
        if part.source.format.protocol != "https":
            track = await self._sources.download_track(part, task, workspace)
            return Downloaded(track.path, track.bytes, track.parts)
        path = workspace.directory / name
        fetched = await self._sources.download_file(part, task, path)
        facts = await self._verifier.verify(path, part.source, task.event.info)
        return Downloaded(path, fetched.bytes, whole=fetched, facts=facts)

    async def _verify_made(
        self,
        source: SelectedSource,
        task: DownloadTask,
        path: Path,
        extension: str,
        *,
        received: int,
    ) -> PreparedFile:
        """Verify a remuxed file, and claim its bytes from the budget."""
        expected = MediaSource(format=output_format(source, extension), url=source.url)
        facts = await self._verifier.verify(path, expected, task.event.info)
        size = (await asyncio.to_thread(path.stat)).st_size
        task.budget.claim(source.format_id, size)
        fetched = Fetched(
            bytes=size,
            sha256=await digest_of(path),
            mime_type=media_type(None, expected),
        )
        return PreparedFile(expected, path, fetched, facts, received)

    def record_stored(
        self, task: DownloadTask, format_id: str, size: int, *, reused: bool = False
    ) -> None:
        """Report the progress of a stored file."""
        progress = task.meter.finish(format_id, size, reused=reused)
        self._sources.report_progress(progress, task.event.job)
