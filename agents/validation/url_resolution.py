"""URL resolution: from a URL to a post or a listing, and whether the job's action supports it."""

from collections.abc import Mapping
from typing import Any, Protocol

from agents.access.gate import OutboundGate
from agents.pipeline.request_parsing import check_copies
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ValidatedListing, ValidatedVideo
from schemas.job import Job
from schemas.listing import ListingRef


class ShortLinkResolver(Protocol):
    """Resolves short links through one egress, with a cache."""

    def cached(self, link: ShortLink) -> Target | None:
        """Return the cached target of a link."""
        ...

    async def resolve(self, link: ShortLink, platform: Platform) -> Target:
        """Return the target; raises `ClipmillError`."""
        ...


class UnusableUrlError(Exception):
    """A URL that is no supported link, or not one that the job's action supports."""

    def __init__(self, reason: ClipmillError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class TargetFinder:
    """Resolves the URLs of jobs to targets.

    Args:
        platforms: the installed platforms.
        links: short-link resolvers by egress.
        gate: access control in front of the resolvers.
    """

    def __init__(
        self, platforms: Platforms, links: Mapping[str, ShortLinkResolver], gate: OutboundGate
    ) -> None:
        self._platforms = platforms
        self._links = links
        self._gate = gate

    async def find(self, job: Job, url: Any, *, alone: bool) -> Target | None:
        """Return the post or listing of a URL; None: resolution is postponed.

        A short link of a batch (``alone`` is False) becomes a record of its own: a batch of slow
        links would block the offset commits of its partition.

        Raises:
            UnusableUrlError: the URL is no link to a post or listing, or not to one that the job's
                action supports.
            ClipmillError: a short link could not be resolved.
        """
        platform, found = self._read_link(url)
        if isinstance(found, ShortLink):
            if not alone:
                return None
            found = self._cached(found) or await self._resolve(job, found, platform)
        check_action(job, found)
        return found

    def find_sync(self, job: Job, url: Any) -> Target | None:
        """Do `find` for a URL that needs no network call; None for all others.

        Raises:
            UnusableUrlError: as `find`.
        """
        _, found = self._read_link(url)
        target = self._cached(found) if isinstance(found, ShortLink) else found
        if target is not None:
            check_action(job, target)
        return target

    def _read_link(self, url: Any) -> tuple[Platform, Target | ShortLink]:
        try:
            return self._platforms.find(url)
        except ClipmillError as error:
            raise UnusableUrlError(error) from None

    def _cached(self, link: ShortLink) -> Target | None:
        known = (links.cached(link) for links in self._links.values())
        return next((each for each in known if each is not None), None)

    async def _resolve(self, job: Job, link: ShortLink, platform: Platform) -> Target:
        return await self._gate.run(
            job,
            platform=platform.get_capabilities().name,
            subject=link.url,
            call=lambda egress: self._links[egress].resolve(link, platform),
        )


def check_action(job: Job, target: Target) -> None:
    """Reject a job whose action does not fit its target.

    Raises:
        UnusableUrlError: a listing is downloaded without a limit, as a member of a batch (batches
            do not nest), or with attributes that are too large to be copied into every member; or
            a single post is listed.
    """
    if not isinstance(target, ListingRef):
        if job.action == "list":
            raise _unusable("this is a single post, there is nothing to list")
        return
    if job.action == "list":
        return
    what = f"this is a {target.kind}"
    if job.batch is not None:
        raise _unusable(f"{what}, which cannot be a member of a batch; submit it by itself")
    if job.options.limit is None:
        options = "set options.limit to say how many of its posts, or action to list"
        raise _unusable(f"{what}; {options}")
    try:
        check_copies(job.attributes, job.options.limit)
    except ClipmillError as error:
        raise UnusableUrlError(error) from None


def _unusable(reason: str) -> UnusableUrlError:
    return UnusableUrlError(ClipmillError(ErrorCode.REQUEST_INVALID, reason, reason=reason))


def event_of(job: Job, target: Target) -> ValidatedVideo | ValidatedListing:
    if isinstance(target, ListingRef):
        return ValidatedListing(job=job, listing=target)
    return ValidatedVideo(job=job, video=target)
