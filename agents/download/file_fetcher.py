"""One file of a post: fetched through the gate, looked into, stored whole or not at all."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from agents.access.gate import OutboundGate
from agents.download.download_task import DownloadTask
from agents.download.kept import Kept, Part, kept_format
from agents.download.storage_guard import StorageGuard
from agents.download.verification import FileVerifier, extension, stored_file
from agents.media.remuxer import Remux
from agents.network.download import (
    UNKNOWN_TYPE,
    Fetched,
    FetchLimits,
    MediaFetcher,
    media_type,
)
from agents.network.time_limit import time_limit
from agents.pipeline.events import report_progress
from agents.platforms.registry import Platforms
from agents.storage.errors import FileGoneError
from agents.storage.interface import Found, Storage
from agents.storage.writing import digest_of
from schemas.containers import MEDIA_TYPES
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.job import Job
from schemas.progress import Progress
from schemas.video import MediaSource, SelectedSource
from streams.observability.metrics import BYTES, EGRESS_BYTES
from streams.stage import StageContext

logger = logging.getLogger(__name__)


class FileFetcher:
    """Gets files into the storage.

    Args:
        platforms: the installed ones.
        fetchers: fetch media, one for each way out.
        storage: where files go.
        gate: in front of the fetchers.
        outage: notices when the storage takes nothing.
        examiner: looks into files before they are kept.
        remuxer: makes files of those that are fetched.
        context: the stage's.
    """

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, MediaFetcher],
        storage: Storage,
        *,
        gate: OutboundGate,
        outage: StorageGuard,
        examiner: FileVerifier,
        remuxer: Remux,
        context: StageContext,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._storage = storage
        self._gate = gate
        self._outage = outage
        self._examiner = examiner
        self._remuxer = remuxer
        self._context = context

    async def fetch(self, source: SelectedSource, errand: DownloadTask) -> StoredFile:
        """Fetch a file, or those of which it is made.

        Nothing is stored before all of it is there: what a worker that is killed leaves behind is
        in its workspace, which the next one removes.

        Raises:
            ClipmillError: what the platform, the fetcher, the gate, the remuxer or the storage
                says; ``content.damaged``, it is not what the page promised.
        """
        event = errand.event
        await self._outage.check()
        async with self._storage.workspace() as directory:
            kept = await self._provide(source, errand, directory)
            file = await self._publish(kept, source, event)
        BYTES.labels(event.video.platform).inc(kept.received_bytes)
        self.note(errand, source.format_id, kept.received_bytes)
        return file

    async def take_sound(
        self, video: StoredFile, source: SelectedSource, errand: DownloadTask
    ) -> StoredFile | None:
        """Store the sound of a stored video; None when that was removed since it was found.

        Raises:
            ClipmillError: what the remuxer or the storage says.
        """
        await self._outage.check()
        try:
            async with (
                self._storage.reading(video.uri) as path,
                self._storage.workspace() as directory,
            ):
                made = directory / "sound"
                extension = await self._remuxer.take_sound(path, made)
                kept = await self._made(source, errand, made, extension, received=0)
                file = await self._publish(kept, source, errand.event)
        except FileGoneError:
            logger.warning("%s is fetched anew: it was removed just now", video.uri)
            return None
        self.note(errand, source.format_id, file.bytes)
        return file

    async def _publish(
        self, kept: Kept, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile:
        uri = await self._storage.publish(
            kept.path,
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=source.file_id,
            extension=extension(kept.source, kept.facts),
        )
        return stored_file(kept.source, event.info, kept.fetched, uri, kept.facts)

    async def _provide(self, source: SelectedSource, errand: DownloadTask, directory: Path) -> Kept:
        path, sound, made = directory / "media", directory / "sound", directory / "made"
        # The sound first: formats are tried for it that may have none, and the picture is larger.
        before = await self._receive_sound(source, errand, sound)
        fetched = await self._receive(Part(source, source, before), errand, path)
        facts = await self._examiner.examine(path, source, errand.event.info)
        received = before + fetched.bytes
        if source.sound_only:
            extension = await self._remuxer.take_sound(path, made)
            return await self._made(source, errand, made, extension, received=received)
        if source.sound_from is None:
            return Kept(source, path, fetched, facts, received)
        try:
            extension = await self._remuxer.join(path, sound, made)
            return await self._made(source, errand, made, extension, received=received)
        except ClipmillError as error:
            # Each of the two files may be good for itself.
            error.format_id = source.format_id
            raise

    async def _receive_sound(self, file: SelectedSource, errand: DownloadTask, target: Path) -> int:
        """Fetch what has the sound of a file, if that is another one, and return its size.

        A failure is that of its own format: the picture is not to be avoided for it.
        """
        source = file.sound_from
        if source is None:
            return 0
        try:
            fetched = await self._receive(Part(source, file), errand, target)
            await self._examiner.examine(target, source, errand.event.info)
        except ClipmillError as error:
            error.format_id = source.format.format_id
            raise
        return fetched.bytes

    async def _made(
        self,
        source: SelectedSource,
        errand: DownloadTask,
        path: Path,
        extension: str,
        *,
        received: int,
    ) -> Kept:
        """Return a file that was made: looked into, and within the bounds of its request."""
        promised = MediaSource(format=kept_format(source, extension), url=source.url)
        facts = await self._examiner.examine(path, promised, errand.event.info)
        size = (await asyncio.to_thread(path.stat)).st_size
        errand.budget.claim(source.format_id, size)
        fetched = Fetched(
            bytes=size,
            sha256=await digest_of(path),
            mime_type=MEDIA_TYPES.get(extension, UNKNOWN_TYPE),
        )
        return Kept(promised, path, fetched, facts, received)

    async def _receive(self, part: Part, errand: DownloadTask, target: Path) -> Fetched:
        event = errand.event
        return await self._gate.run(
            event.job,
            platform=event.video.platform,
            subject=event.video.key,
            call=lambda egress: self._fetch_by(egress, part, errand, target),
            part=part.source.format.format_id,
        )

    async def adopt(
        self, found: Found, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        """Return a file that is in the storage with what has to be known about it.

        None: it is not what the page promises (any more), or was removed since it was found, and
        has to be fetched anew.

        Raises:
            ClipmillError: ``system.storage``, it cannot be read.
        """
        try:
            async with self._storage.reading(found.uri) as path:
                return await self._adopted(found, path, source, event)
        except FileGoneError:
            logger.warning("%s is fetched anew: it was removed just now", found.uri)
            return None

    async def _adopted(
        self, found: Found, path: Path, source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        digest = await digest_of(path)
        promised = MediaSource(format=kept_format(source, path.suffix[1:]), url=source.url)
        try:
            facts = await self._examiner.examine(path, promised, event.info)
        except ClipmillError as error:
            logger.warning("%s is fetched anew: %s", found.uri, error)
            return None
        if not found.uri.endswith(f".{extension(promised, facts)}"):
            logger.warning("%s is fetched anew: its extension is not that of its kind", found.uri)
            return None
        mime_type = media_type(None, promised)
        fetched = Fetched(bytes=found.bytes, sha256=digest, mime_type=mime_type)
        return stored_file(promised, event.info, fetched, found.uri, facts)

    def note(
        self, errand: DownloadTask, format_id: str, size: int, *, reused: bool = False
    ) -> None:
        """Tell that a file is stored."""
        self._tell(errand.meter.finish(format_id, size, reused=reused), errand.event.job)

    async def _fetch_by(
        self, egress: str, part: Part, errand: DownloadTask, target: Path
    ) -> Fetched:
        platform = self._platforms.by_name(errand.event.video.platform)
        limits = errand.limits if part.is_kept else errand.part_limits
        name, before = part.file.format_id, part.before
        arrived = EGRESS_BYTES.labels(errand.event.video.platform, egress)
        received = 0

        def on_progress(done: int, total: int | None) -> None:
            nonlocal received
            # Less than before: the transfer began again.
            arrived.inc(done - received if done > received else 0)
            received = done
            if part.is_kept:
                errand.budget.claim(name, max(done, total or 0))
            sizes = before + done, None if total is None else before + total
            self._tell(errand.meter.update(name, *sizes), errand.event.job)

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

    def _tell(self, progress: Progress | None, job: Job) -> None:
        if progress is not None:
            self._context.supplement(report_progress(progress, job, "download"))


def _too_slow(limits: FetchLimits) -> ClipmillError:
    message = f"the download took longer than {limits.total_seconds:.0f} s"
    return ClipmillError(ErrorCode.NETWORK_TIMEOUT, message)
