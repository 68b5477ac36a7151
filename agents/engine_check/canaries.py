"""Canaries: URLs that are known to work, read to see whether the engine still can."""

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

LISTED = 1
"""Posts of a listing that are asked for: one shows that it can be read."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How it went for one URL by one way out.

    Attributes:
        url: as it was given.
        egress: name of the way out.
        error: its code, None when all was well.
        reason: what happened, when it failed.
        seconds: that it took.
        formats: files that the page offers; of a listing the posts that were read.
    """

    url: str
    egress: str
    error: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    formats: int = 0


class Canaries:
    """Reads URLs as the stages would, without Kafka, caches and breakers.

    Args:
        platforms: the installed ones.
        engine: reads the pages.
        egresses: the ways out; every URL is read by each of them.
        deadline_seconds: wall time for one URL.
        at_once: URLs that are read at a time; more would wait for the engine at the cost of their
            deadline.
    """

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        egresses: Mapping[str, Egress],
        *,
        deadline_seconds: float,
        at_once: int,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._egresses = egresses
        self._deadline_seconds = deadline_seconds
        self._turns = asyncio.Semaphore(at_once)

    async def read(self, urls: Sequence[str]) -> tuple[Verdict, ...]:
        """Return a verdict for every URL and way out, in this order."""
        pairs = [(url, egress) for url in urls for egress in self._egresses.values()]
        return tuple(await asyncio.gather(*(self._judge(*pair) for pair in pairs)))

    async def _judge(self, url: str, egress: Egress) -> Verdict:
        async with self._turns:
            started = time.monotonic()
            verdict = await self._verdict(url, egress)
            seconds = round(time.monotonic() - started, 3)
        return msgspec.structs.replace(verdict, seconds=seconds)

    async def _verdict(self, url: str, egress: Egress) -> Verdict:
        try:
            return Verdict(url=url, egress=egress.name, formats=await self._count(url, egress))
        except ClipmillError as failure:
            error, reason = failure.code, failure.message
        except Exception as failure:  # noqa: BLE001 - a platform's code may be foreign
            error, reason = ErrorCode.INTERNAL_BUG, f"{type(failure).__name__}: {failure}"
        return Verdict(url=url, egress=egress.name, error=error.value, reason=reason)

    async def _count(self, url: str, egress: Egress) -> int:
        platform, found = self._platforms.find(url)
        target = await _resolved(found, platform, egress)
        if isinstance(target, ListingRef):
            listing = await platform.get_listing(
                target,
                self._engine,
                egress=egress.name,
                deadline_seconds=self._deadline_seconds,
                limit=LISTED,
            )
            return len(listing.entries)
        extraction = await platform.get_video_info(
            target, self._engine, egress=egress.name, deadline_seconds=self._deadline_seconds
        )
        return len(platform.describe(target, extraction).formats)


async def _resolved(target: Target | ShortLink, platform: Platform, egress: Egress) -> Target:
    if not isinstance(target, ShortLink):
        return target
    async with open_session(egress) as session:
        return await LinkResolver(session).resolve(target, platform)
