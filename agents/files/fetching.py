"""One file of a post: fetched through the gate, looked into, stored whole or not at all."""

import logging
from collections.abc import Mapping
from pathlib import Path

from agents.dialling.attempting import Gate
from agents.files.errand import Errand
from agents.files.examining import Examiner, stored_file
from agents.files.outage import StorageOutage
from agents.network.download import Fetched, FetchLimits, MediaFetcher, media_type
from agents.network.time_limit import time_limit
from agents.platforms.registry import Platforms
from agents.records.letters import report_progress
from agents.storage.errors import FileGoneError
from agents.storage.interface import Found, Storage
from agents.storage.writing import digest_of
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.job import Job
from schemas.progress import Progress
from schemas.video import MediaSource
from streams.metrics import BYTES
from streams.stage import StageContext

logger = logging.getLogger(__name__)


class Fetching:
    """Gets files into the storage.

    Args:
        platforms: the installed ones.
        fetchers: fetch media, one for each way out.
        storage: where files go.
        gate: in front of the fetchers.
        outage: notices when the storage takes nothing.
        examiner: looks into files before they are kept.
        context: the stage's.
    """

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, MediaFetcher],
        storage: Storage,
        *,
        gate: Gate,
        outage: StorageOutage,
        examiner: Examiner,
        context: StageContext,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._storage = storage
        self._gate = gate
        self._outage = outage
        self._examiner = examiner
        self._context = context

    async def fetch(self, source: MediaSource, errand: Errand) -> StoredFile:
        """Fetch a file.

        Raises:
            ClipmillError: what the platform, the fetcher, the gate or the storage says;
                ``content.damaged``, it is not what the page promised.
        """
        event, chosen = errand.event, source.format
        await self._outage.check()
        async with self._storage.workspace() as directory:
            target = directory / "media"
            fetched = await self._gate.run(
                event.job,
                platform=event.video.platform,
                subject=event.video.key,
                call=lambda egress: self._fetch_by(egress, source, errand, target),
                part=chosen.format_id,
            )
            facts = await self._examiner.examine(target, source, event.info)
            uri = await self._storage.publish(
                target,
                platform=event.video.platform,
                video_id=event.video.id,
                format_id=chosen.format_id,
                extension=chosen.container,
            )
        BYTES.labels(event.video.platform).inc(fetched.bytes)
        self.note(errand, chosen.format_id, fetched.bytes)
        return stored_file(source, event.info, fetched, uri, facts)

    async def adopt(
        self, found: Found, source: MediaSource, event: SelectedVideo
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
        self, found: Found, path: Path, source: MediaSource, event: SelectedVideo
    ) -> StoredFile | None:
        digest = await digest_of(path)
        try:
            facts = await self._examiner.examine(path, source, event.info)
        except ClipmillError as error:
            logger.warning("%s is fetched anew: %s", found.uri, error)
            return None
        mime_type = media_type(None, source)
        fetched = Fetched(bytes=found.bytes, sha256=digest, mime_type=mime_type)
        return stored_file(source, event.info, fetched, found.uri, facts)

    def note(self, errand: Errand, format_id: str, size: int, *, reused: bool = False) -> None:
        """Tell that a file is stored."""
        self._tell(errand.meter.finish(format_id, size, reused=reused), errand.event.job)

    async def _fetch_by(
        self, egress: str, source: MediaSource, errand: Errand, target: Path
    ) -> Fetched:
        platform = self._platforms.by_name(errand.event.video.platform)
        limits, format_id = errand.limits, source.format.format_id

        def on_progress(done: int, total: int | None) -> None:
            errand.budget.claim(format_id, max(done, total or 0))
            self._tell(errand.meter.update(format_id, done, total), errand.event.job)

        try:
            async with time_limit(limits.total_seconds) as bound:
                return await platform.download_video(
                    source, target, self._fetchers[egress], limits=limits, on_progress=on_progress
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
