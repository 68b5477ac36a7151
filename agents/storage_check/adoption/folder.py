"""Adopts a folder: all of its files, a few at a time, and the entries of a download archive."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path

import msgspec

from agents.media.prober import Probe, open_prober
from agents.media.protocol import Answer
from agents.platforms import Platforms
from agents.storage import Storage
from agents.storage.path_layout import layouts_of, path_of_uri, read_path
from agents.storage.withheld_posts import withheld_keys, withhold
from agents.storage_check.adoption.adopter import CandidateAdopter, Placement
from agents.storage_check.adoption.candidates import IdentifiedFile, PostFinder, list_files
from agents.storage_check.adoption.report import AdoptionResult, AdoptionState, RefusedError
from agents.storage_check.adoption.ytdlp_files import (
    ArchiveEntry,
    platforms_by_extractor,
    read_archive,
)
from streams.settings import Settings

CONCURRENCY = 8
"""Files that are adopted at once: hides the latency of disks and stores."""

BATCH_FILES = 64


class AdoptionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is adopted, and how.

    Attributes:
        folder: of the files.
        archive: download archive of yt-dlp.
        platform: of names without one.
        template: of paths in the folder, besides that of the storage.
        placement: see `Placement`.
        dry_run: files are examined only.
    """

    folder: Path
    archive: Path | None = None
    platform: str | None = None
    template: str | None = None
    placement: Placement = "link"
    dry_run: bool = False


class FolderAdopter:
    """Adopts a folder into a storage.

    Args:
        storage: target of the files.
        probe: reads the properties of files.
        settings: all settings.
        plan: see `AdoptionPlan`.

    Raises:
        ValueError: the template breaks a rule.
        OSError: the archive cannot be read.
    """

    def __init__(
        self, storage: Storage, probe: Probe, settings: Settings, plan: AdoptionPlan
    ) -> None:
        self._storage = storage
        self._plan = plan
        platforms = Platforms.load(settings.platforms)
        self._by_extractor = platforms_by_extractor(platforms)
        self._archived = list(read_archive(plan.archive)) if plan.archive else []
        self._layouts = layouts_of(settings.storage.path_template, plan.template)
        self._posts = PostFinder(
            self._layouts,
            platforms,
            platform=plan.platform,
            archived={
                it.id: self._by_extractor[it.extractor]
                for it in self._archived
                if it.extractor in self._by_extractor
            },
            bytes_max=settings.download.file_bytes,
        )
        self._files = CandidateAdopter(
            storage,
            probe,
            placement=plan.placement,
            keep_free_bytes=settings.download.free_bytes,
        )

    async def run(self) -> AsyncIterator[AdoptionResult]:
        """Adopt all files, then the entries of the archive.

        Raises:
            FolderError: a folder cannot be listed.
            ClipmillError: ``system.disk_full`` or ``system.storage``.
            ProcessUnavailableError: files cannot be probed at present.
        """
        listed, adopted = list_files(self._plan.folder), set[str]()
        while batch := await asyncio.to_thread(list, islice(listed, BATCH_FILES)):
            for result in await self._adopt_batch(batch):
                if result.video_key is not None:
                    adopted.add(result.video_key)
                yield result
        if self._archived:
            async for result in self._record_archive(adopted):
                yield result

    async def _adopt_batch(self, paths: Iterable[Path]) -> list[AdoptionResult]:
        """Adopt files; those of one post one after the other."""
        slots, by_post = asyncio.Semaphore(CONCURRENCY), dict[str, list[IdentifiedFile]]()
        results: list[AdoptionResult] = []
        for path in paths:
            try:
                found = await asyncio.to_thread(self._posts.find, path)
            except RefusedError as error:
                results.append(_refused(path, error))
            else:
                by_post.setdefault(f"{found.ids.platform}:{found.ids.video_id}", []).append(found)

        async def adopt(candidates: Sequence[IdentifiedFile]) -> None:
            async with slots:
                results.extend([await self._adopt(each) for each in candidates])

        try:
            async with asyncio.TaskGroup() as group:
                for candidates in by_post.values():
                    group.create_task(adopt(candidates))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return results

    async def _adopt(self, candidate: IdentifiedFile) -> AdoptionResult:
        try:
            return await self._files.adopt(candidate, dry_run=self._plan.dry_run)
        except RefusedError as error:
            return _refused(candidate.path, error)

    async def _record_archive(self, adopted: set[str]) -> AsyncIterator[AdoptionResult]:
        """Record that the entries of the archive without a file are not downloaded."""
        records, known = self._storage.records, set[str]()
        async for file in self._storage.files():
            name = read_path(path_of_uri(file.uri), self._layouts)
            if name is not None:
                adopted.add(f"{name.ids.platform}:{name.ids.video_id}")
        async for key in withheld_keys(records):
            known.add(key)
        for entry in self._archived:
            platform = self._by_extractor.get(entry.extractor)
            key = f"{platform}:{entry.id}"
            if platform is None:
                yield _unknown(entry)
            elif key not in adopted:
                if key not in known and not self._plan.dry_run:
                    await withhold(records, platform, entry.id, "archived")
                yield AdoptionResult(
                    path=f"{entry.extractor} {entry.id}", state=AdoptionState.KNOWN, video_key=key
                )


@asynccontextmanager
async def open_probers(count: int) -> AsyncIterator[Probe]:
    """Yield a prober with several processes."""
    async with AsyncExitStack() as stack:
        free: asyncio.Queue[Probe] = asyncio.Queue()
        for _ in range(count):
            free.put_nowait(await stack.enter_async_context(open_prober()))
        yield _Probers(free)


class _Probers:
    """A `Probe` that takes the next free one."""

    def __init__(self, free: asyncio.Queue[Probe]) -> None:
        self._free = free

    async def probe(self, path: Path) -> Answer:
        prober = await self._free.get()
        try:
            return await prober.probe(path)
        finally:
            self._free.put_nowait(prober)


def _refused(path: Path, error: RefusedError) -> AdoptionResult:
    return AdoptionResult(path=str(path), state=AdoptionState.REFUSED, reason=str(error))


def _unknown(entry: ArchiveEntry) -> AdoptionResult:
    return AdoptionResult(
        path=f"{entry.extractor} {entry.id}",
        state=AdoptionState.REFUSED,
        reason="no installed platform has the ids of this extractor",
    )
