"""What a URL means: a post, or a listing of posts; and whether that fits what is wanted of it."""

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


class Links(Protocol):
    """Finds what short links stand for, by one way out."""

    def known(self, link: ShortLink) -> Target | None:
        """Return the target of a link that was resolved a short while ago."""
        ...

    async def resolve(self, link: ShortLink, platform: Platform) -> Target:
        """Return the target; raises `ClipmillError`."""
        ...


class NoLinkError(Exception):
    """A text is no link to what the job can use, for this reason."""

    def __init__(self, reason: ClipmillError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class TargetFinder:
    """Finds out what the URLs of jobs mean.

    Args:
        platforms: the installed ones.
        links: find what short links stand for, one for each way out.
        gate: in front of them.
    """

    def __init__(
        self, platforms: Platforms, links: Mapping[str, Links], gate: OutboundGate
    ) -> None:
        self._platforms = platforms
        self._links = links
        self._gate = gate

    async def find(self, job: Job, url: Any, *, alone: bool) -> Target | None:
        """Return the post or listing of a URL, None when it is to be found later.

        A short link in company becomes a record of its own: a batch of slow links would hold up
        the commits of its partition.

        Raises:
            NoLinkError: it is no link to a post or listing, or not to one that the job can use.
            ClipmillError: a short link could not be resolved.
        """
        platform, found = self._read_link(url)
        if isinstance(found, ShortLink):
            if not alone:
                return None
            found = await self._resolve(job, found, platform)
        check_wish(job, found)
        return found

    def _read_link(self, url: Any) -> tuple[Platform, Target | ShortLink]:
        try:
            return self._platforms.find(url)
        except ClipmillError as error:
            raise NoLinkError(error) from None

    async def _resolve(self, job: Job, link: ShortLink, platform: Platform) -> Target:
        known = (links.known(link) for links in self._links.values())
        target = next((each for each in known if each is not None), None)
        if target is not None:
            return target
        return await self._gate.run(
            job,
            platform=platform.get_capabilities().name,
            subject=link.url,
            call=lambda egress: self._links[egress].resolve(link, platform),
        )


def check_wish(job: Job, target: Target) -> None:
    """Refuse a job that does not fit what its URL means (pure).

    Raises:
        NoLinkError: a listing that is to be downloaded without a limit, or from within a batch,
            whose members have a batch of their own already, or with attributes that are too large
            to be copied so often; a single post that is to be listed.
    """
    reason = _listing_problem(job, target) if isinstance(target, ListingRef) else _post_problem(job)
    if reason:
        raise NoLinkError(ClipmillError(ErrorCode.REQUEST_INVALID, reason, reason=reason))
    if isinstance(target, ListingRef) and job.action != "list":
        try:
            check_copies(job.attributes, job.options.limit or 0)
        except ClipmillError as error:
            raise NoLinkError(error) from None


def _listing_problem(job: Job, listing: ListingRef) -> str | None:
    if job.action == "list":
        return None
    if job.batch is not None:
        return f"this is a {listing.kind}, which cannot be a member of a batch; submit it by itself"
    if job.options.limit is None:
        return (
            f"this is a {listing.kind}; set options.limit to say how many of its posts,"
            " or action to list"
        )
    return None


def _post_problem(job: Job) -> str | None:
    return "this is a single post, there is nothing to list" if job.action == "list" else None


def event_of(job: Job, target: Target) -> ValidatedVideo | ValidatedListing:
    """Return the event that hands a target to the extraction."""
    if isinstance(target, ListingRef):
        return ValidatedListing(job=job, listing=target)
    return ValidatedVideo(job=job, video=target)
