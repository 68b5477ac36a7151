"""Removes old files in the background, as the settings of retention say.

Each worker checks all files from time to time. Removal is idempotent, so workers need no lease: of
several the first removes a file, and the others find fewer. A check removes a bounded number of
files; the next one follows soon when there are more.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath

from agents.download.bounded_gather import gather_bounded
from agents.storage import Records, Storage
from agents.storage.names import FileIds, file_stem
from agents.storage.path_layout import layouts_of, path_of_uri, read_path
from agents.storage.retention import CAUSES, Removal, RetentionLimit, RetentionPlan, RetentionRules
from schemas.errors import ClipmillError
from streams.observability.metrics import (
    FILES_REMOVED,
    FILES_REMOVED_BYTES,
    RETENTION_CHECKED,
    STORED_BYTES,
    STORED_FILES,
    start_at_zero,
)
from streams.settings import RetentionLimits, RetentionSettings

logger = logging.getLogger(__name__)

PROTECTED_SECONDS = 3_600.0
"""Age below which no file is removed: its result may not have been read yet."""

FILES_MAX = 10_000
"""Removals of one check: some 3 MB of memory for each limit, and seconds on a disk."""

CONCURRENCY = 8
"""Concurrent removals: hides the latency of an object store."""

CONTINUE_SECONDS = 1.0
"""Time before the next check when one has left files to remove."""

DAY_SECONDS = 86_400.0

REQUESTERS = ".requesters"
"""Folder of the records of who requested a post. The value of one attribute of requests is recorded
as its digest: an empty record ``.requesters/<digest>/<platform>/<id>``, read by listing them."""

_DIGEST_CHARACTERS = 32


class Retention:
    """Removes the stored files beyond the limits.

    Args:
        storage: of the files.
        settings: the limits.
        template: of the paths of files.
        clock: epoch seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        storage: Storage,
        settings: RetentionSettings,
        template: str | None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._rules = rules_of(settings)
        has_groups = bool(self._rules.platforms or self._rules.requesters)
        self._layouts = layouts_of(template) if has_groups else ()
        self._clock = clock
        self._sleep = sleep
        self._failures: list[ClipmillError] = []
        start_at_zero(FILES_REMOVED, CAUSES)
        start_at_zero(FILES_REMOVED_BYTES, CAUSES)

    async def run(self) -> None:
        """Check again and again; runs until cancelled, also across failures of the storage."""
        seconds = self._settings.check_seconds
        # Jitter: workers that start together do not list the files at the same time.
        await self._sleep(seconds * random.random())  # noqa: S311
        while True:
            try:
                is_complete = await self.check()
            except Exception:
                logger.exception("old files could not be removed; the next check is in time")
                is_complete = True
            await self._sleep(seconds if is_complete else CONTINUE_SECONDS)

    async def check(self) -> bool:
        """Remove files, at most `FILES_MAX`; return whether no more are to be removed.

        Raises:
            ClipmillError: ``system.storage``.
        """
        removals = await self._plan()
        calls = [partial(self._remove, each) for each in removals]
        removed = await gather_bounded(calls, CONCURRENCY)
        if any(removed):
            logger.info("retention removed %d files", sum(removed))
        if self._failures:
            count, last = len(self._failures), self._failures[-1]
            logger.warning("retention could not remove %d files: %s", count, last)
            self._failures.clear()
        # Files that are being read, or cannot be removed, must not repeat the check at once.
        return len(removals) < FILES_MAX or not any(removed)

    async def _remove(self, removal: Removal) -> bool:
        try:
            is_removed = await self._storage.expire(removal.file)
        except ClipmillError as error:
            self._failures.append(error)
            return False
        if is_removed:
            FILES_REMOVED.labels(removal.cause).inc()
            FILES_REMOVED_BYTES.labels(removal.cause).inc(removal.file.bytes)
        return is_removed

    async def _plan(self) -> list[Removal]:
        now, records = self._clock(), self._storage.records
        requesters = await requesters_by_post(records, self._rules.requesters)
        plan = RetentionPlan(
            self._rules, now, protected_since=now - PROTECTED_SECONDS, files_max=FILES_MAX
        )
        async for file in self._storage.files():
            name = self._layouts and read_path(path_of_uri(file.uri), self._layouts)
            if name:
                key = f"{name.ids.platform}:{name.ids.video_id}"
                plan.add(file, name.ids.platform, requesters.get(key, ()))
            else:
                plan.add(file)
        STORED_FILES.set(plan.files)
        STORED_BYTES.set(plan.bytes)
        RETENTION_CHECKED.set(now)
        return plan.removals()


async def restore_index(storage: Storage) -> None:
    """Rebuild the index of a storage if it is lost; the next start does after a failure."""
    try:
        await storage.restore_index()
    except ClipmillError as error:
        logger.warning("the index of equal files is incomplete: %s", error)


def rules_of(settings: RetentionSettings) -> RetentionRules:
    """Return the rules of the settings."""
    attribute = settings.attribute or ""
    return RetentionRules(
        all=_limit(settings),
        platforms={name: _limit(it) for name, it in settings.platforms.items()},
        requesters={
            requester_id(attribute, value): _limit(it) for value, it in settings.requesters.items()
        },
    )


def _limit(settings: RetentionSettings | RetentionLimits) -> RetentionLimit:
    days = settings.days
    return RetentionLimit(
        seconds=None if days is None else days * DAY_SECONDS, bytes=settings.bytes
    )


def requester_id(attribute: str, value: str) -> str:
    """Return the digest of an attribute of requests and its value."""
    text = f"{attribute}\0{value}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:_DIGEST_CHARACTERS]


async def record_requester(records: Records, requester: str, platform: str, video_id: str) -> None:
    """Record that a requester has requested a post, unless it is recorded already.

    Raises:
        ClipmillError: see `Records.write`; ``content.unsupported``, the names cannot be used.
    """
    name = _folder(requester) / file_stem(FileIds(platform, video_id, "post")).parent
    if await records.read(name) is None:
        await records.write(name, b"")


async def requesters_by_post(
    records: Records, requesters: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return which of these requesters have requested a post, by its key ``<platform>:<id>``.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read.
    """
    found: dict[str, tuple[str, ...]] = {}
    for requester in requesters:
        async for name in records.names(str(_folder(requester))):
            key = f"{name.parent.name}:{name.name}"
            found[key] = (*found.get(key, ()), requester)
    return found


def _folder(requester: str) -> PurePosixPath:
    return PurePosixPath(REQUESTERS, requester)
