"""Downloads one file of a post through the gate, verifies it, and publishes it atomically."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from agents.access import OutboundGate
from agents.download.download_task import DownloadPart, DownloadTask, PreparedFile, output_format
from agents.download.storage_guard import StorageGuard
from agents.download.verification import FileVerifier, extension, stored_file
from agents.media.remuxer import Remux
from agents.network.bandwidth import time_limit
from agents.network.download import Fetched, FetchLimits, MediaFetcher, media_type
from agents.pipeline.events import report_progress
from agents.platforms import Platforms
from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.writing import digest_of
from schemas import (
    ClipmillError,
    ErrorCode,
    Job,
    MediaSource,
    SelectedSource,
    SelectedVideo,
    StoredFile,
)
from schemas.progress import Progress
from streams import StageContext
from streams.observability.metrics import BYTES, EGRESS_BYTES

logger = logging.getLogger(__name__)


class FileFetcher:
    """Puts files into the storage.

    Args:
        platforms: the installed platforms.
        fetchers: media downloaders by egress.
        storage: target of the files.
        gate: access control in front of the downloaders.
        storage_guard: pauses the intake while the storage fails.
        verifier: probes files before they are published.
        remuxer: joins and extracts tracks.
        context: the stage's.
    """

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, MediaFetcher],
        storage: Storage,
        *,
        gate: OutboundGate,
        storage_guard: StorageGuard,
        verifier: FileVerifier,
        remuxer: Remux,
        context: StageContext,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._storage = storage
        self._gate = gate
        self._storage_guard = storage_guard
        self._verifier = verifier
        self._remuxer = remuxer
        self._context = context

    async def fetch(self, source: SelectedSource, task: DownloadTask) -> StoredFile:
        """Download a file, or the parts from which it is remuxed, and publish it.

        Publication is atomic. A killed worker leaves partial files only in its workspace, which the
        next process removes.

        Raises:
            ClipmillError: the platform, the downloader, the gate, the remuxer or the storage
                failed; ``content.damaged``: the file does not match the page.
        """
        event = task.event
        await self._storage_guard.check()
        async with self._storage.workspace() as directory:
            prepared = await self._provide(source, task, directory)
            file = await self._publish(prepared, source, event)
        BYTES.labels(event.video.platform).inc(prepared.received_bytes)
        self.record_stored(task, source.format_id, prepared.received_bytes)
        return file

    async def extract_audio(
        self, video: StoredFile, source: SelectedSource, task: DownloadTask
    ) -> StoredFile | None:
        """Extract and publish the sound of a stored video; None when it was removed meanwhile.

        Raises:
            ClipmillError: the remuxer or the storage failed.
        """
        await self._storage_guard.check()
        try:
            async with (
                self._storage.reading(video.uri) as path,
                self._storage.workspace() as directory,
            ):
                output = directory / "sound"
                extension = await self._remuxer.extract_audio(path, output)
                prepared = await self._prepare(source, task, output, extension, received=0)
                file = await self._publish(prepared, source, task.event)
        except FileGoneError:
            logger.warning("%s is downloaded again: it was removed just now", video.uri)
            return None
        self.record_stored(task, source.format_id, file.bytes)
        return file

    async def _publish(
        self, prepared: PreparedFile, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile:
        uri = await self._storage.publish(
            prepared.path,
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=source.file_id,
            extension=extension(prepared.source, prepared.facts),
            sha256=prepared.fetched.sha256,
        )
        return stored_file(prepared.source, event.info, prepared.fetched, uri, prepared.facts)

    async def _provide(
        self, source: SelectedSource, task: DownloadTask, directory: Path
    ) -> PreparedFile:
        path, sound, output = directory / "media", directory / "sound", directory / "made"
        # The sound first: its format may turn out to have none, and the picture is larger.
        bytes_before = await self._download_sound(source, task, sound)
        fetched = await self._download(DownloadPart(source, source, bytes_before), task, path)
        facts = await self._verifier.verify(path, source, task.event.info)
        received = bytes_before + fetched.bytes
        if source.sound_only:
            extension = await self._remuxer.extract_audio(path, output)
            return await self._prepare(source, task, output, extension, received=received)
        if source.sound_from is None:
            return PreparedFile(source, path, fetched, facts, received)
        try:
            extension = await self._remuxer.mux(path, sound, output)
            return await self._prepare(source, task, output, extension, received=received)
        except ClipmillError as error:
            # The pair is at fault: each of the two files may be valid by itself.
            error.format_id = source.format_id
            raise

    async def _download_sound(self, file: SelectedSource, task: DownloadTask, target: Path) -> int:
        """Download the separate sound source of a file, if any; return its size in bytes.

        A failure is attributed to the sound's format, so retries do not avoid the picture's.
        """
        source = file.sound_from
        if source is None:
            return 0
        try:
            fetched = await self._download(DownloadPart(source, file), task, target)
            await self._verifier.verify(target, source, task.event.info)
        except ClipmillError as error:
            error.format_id = source.format.format_id
            raise
        return fetched.bytes

    async def _prepare(
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

    async def _download(self, part: DownloadPart, task: DownloadTask, target: Path) -> Fetched:
        event = task.event
        return await self._gate.run(
            event.job,
            platform=event.video.platform,
            subject=event.video.key,
            call=lambda egress: self._download_via(egress, part, task, target),
            part=part.source.format.format_id,
        )

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

    def record_stored(
        self, task: DownloadTask, format_id: str, size: int, *, reused: bool = False
    ) -> None:
        """Report the progress of a stored file."""
        self._report_progress(task.meter.finish(format_id, size, reused=reused), task.event.job)

    async def _download_via(
        self, egress: str, part: DownloadPart, task: DownloadTask, target: Path
    ) -> Fetched:
        platform = self._platforms.by_name(task.event.video.platform)
        limits = task.limits if part.is_primary else task.part_limits
        name, bytes_before = part.file.format_id, part.bytes_before
        arrived = EGRESS_BYTES.labels(task.event.video.platform, egress)
        received = 0

        def on_progress(done: int, total: int | None) -> None:
            nonlocal received
            # Fewer bytes than before: the transfer restarted from the beginning.
            arrived.inc(done - received if done > received else 0)
            received = done
            if part.is_primary:
                task.budget.claim(name, max(done, total or 0))
            sizes = bytes_before + done, None if total is None else bytes_before + total
            self._report_progress(task.meter.update(name, *sizes), task.event.job)

        try:
            async with time_limit(limits.total_seconds) as bound:
                return await platform.download_video(
                    part.source,
                    target,
                    self._fetchers[egress],
                    limits=limits,
                    on_progress=on_progress,
                )
        except TimeoutError:
            if not bound.expired():
                raise
            raise _too_slow(limits) from None

    def _report_progress(self, progress: Progress | None, job: Job) -> None:
        if progress is not None:
            self._context.publish_best_effort(report_progress(progress, job, "download"))


def _too_slow(limits: FetchLimits) -> ClipmillError:
    message = f"the download took longer than {limits.total_seconds:.0f} s"
    return ClipmillError(ErrorCode.NETWORK_TIMEOUT, message)
