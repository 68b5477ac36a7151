"""Canary checks of the engine: extraction of URLs that are known to work, by every egress."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from agents.engine.interface import Extractor
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef

LISTING_ENTRIES = 1
"""Entries requested of a listing: one proves that it can be read."""


class CanaryResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one URL by one egress.

    Attributes:
        url: as given by the caller.
        egress: name of the egress.
        error: error code, None on success.
        reason: error message.
        seconds: duration.
        formats: number of formats of the page; of a listing, of entries read.
    """

    url: str
    egress: str
    error: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    formats: int = 0


class Canaries:
    """Extracts URLs as the stages would, without Kafka, caches and circuit breakers.

    Args:
        platforms: installed platforms.
        engine: runs the extractions.
        egresses: every URL is extracted by each of them.
        deadline_seconds: wall time of one extraction.
        concurrency: maximum of concurrent extractions; more would spend their deadlines in the
            queue of the engine.
    """

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        egresses: Mapping[str, Egress],
        *,
        deadline_seconds: float,
        concurrency: int,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._egresses = egresses
        self._deadline_seconds = deadline_seconds
        self._semaphore = asyncio.Semaphore(concurrency)

    async def read(self, urls: Sequence[str]) -> tuple[CanaryResult, ...]:
        """Return a result for every URL and egress, ordered by URL, then egress."""
        pairs = [(url, egress) for url in urls for egress in self._egresses.values()]
        return tuple(await asyncio.gather(*(self._timed(*pair) for pair in pairs)))

    async def _timed(self, url: str, egress: Egress) -> CanaryResult:
        async with self._semaphore:
            started = time.monotonic()
            result = await self._extract(url, egress)
            seconds = round(time.monotonic() - started, 3)
        return msgspec.structs.replace(result, seconds=seconds)

    async def _extract(self, url: str, egress: Egress) -> CanaryResult:
        try:
            return CanaryResult(
                url=url, egress=egress.name, formats=await self._count_formats(url, egress)
            )
        except ClipmillError as failure:
            error, reason = failure.code, failure.message
        except Exception as failure:  # noqa: BLE001 - a platform's code may be foreign
            error, reason = ErrorCode.INTERNAL_BUG, f"{type(failure).__name__}: {failure}"
        return CanaryResult(url=url, egress=egress.name, error=error.value, reason=reason)

    async def _count_formats(self, url: str, egress: Egress) -> int:
        platform, found = self._platforms.find(url)
        target = await _resolve(found, platform, egress)
        if isinstance(target, ListingRef):
            listing = await platform.get_listing(
                target,
                self._engine,
                egress=egress.name,
                deadline_seconds=self._deadline_seconds,
                limit=LISTING_ENTRIES,
            )
            return len(listing.entries)
        extraction = await platform.get_video_info(
            target, self._engine, egress=egress.name, deadline_seconds=self._deadline_seconds
        )
        return len(platform.get_media_sources(extraction))


async def _resolve(target: Target | ShortLink, platform: Platform, egress: Egress) -> Target:
    if not isinstance(target, ShortLink):
        return target
    async with open_session(egress) as session:
        return await LinkResolver(session).resolve(target, platform)
