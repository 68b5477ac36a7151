"""`clipmill engine check`: extracts canary URLs, known to work, by every egress. Needs no Kafka."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from agents.access.egress import open_egresses
from agents.engine.interface import Extractor
from agents.engine.javascript_support import JavaScriptSupport
from agents.engine.pool import EnginePool
from agents.engine.supervisor import EngineStartError
from agents.extraction.engine import engine_settings
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.platforms.extractor_names import check_extractors
from agents.platforms.interface import Platform, ShortLink, Target
from agents.platforms.registry import Platforms
from agents.platforms.short_links import LinkResolver
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.redaction import redact
from schemas.video import EngineVersions
from streams.cli.errors import readable_errors
from streams.cli.result_table import open_console, safe_markup
from streams.settings import Settings, load_settings

LISTING_ENTRIES = 1
"""Entries requested of a listing: one proves that it can be read."""

NO_IMPERSONATION = (
    "requests do not impersonate a browser, and platforms may reject them: curl_cffi is missing, or"
    " this yt-dlp does not support its version; install the version that clipmill requires"
)

NO_JAVASCRIPT = "YouTube is read without logins, and without videos that are made for kids"


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


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a check, as printed by ``--json``.

    Attributes:
        healthy: every URL was extracted by every egress.
        versions: of the engine's libraries.
        impersonation: whether requests can impersonate a browser.
        native_proof_of_work: whether the compiled library computes proofs of work.
        javascript: what runs the programs of pages, or why none does.
        packages_dir: folder of yt-dlp, None for the installed one.
        results: one for each URL and egress.
    """

    healthy: bool
    versions: EngineVersions | None
    impersonation: bool
    native_proof_of_work: bool
    javascript: JavaScriptSupport
    packages_dir: str | None
    results: tuple[CanaryResult, ...]


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


@click.group()
def engine() -> None:
    """Check the extraction engine."""


@engine.command()
@click.argument("urls", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON.")
def check(urls: tuple[str, ...], as_json: bool) -> None:
    """Extract URLS, or the setting engine.canaries; exit status 0 only if all succeed."""
    settings = load_settings()
    canaries = urls or settings.engine.canaries
    if not canaries:
        raise click.UsageError("give a URL, or set engine.canaries")
    with readable_errors():
        report = _run(settings, canaries)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    sys.exit(0 if report.healthy else 1)


def _run(settings: Settings, urls: Sequence[str]) -> Report:
    try:
        return asyncio.run(check_engine(settings, urls))
    except EngineStartError as error:
        raise click.ClickException(str(error)) from None


async def check_engine(settings: Settings, urls: Sequence[str]) -> Report:
    """Start an engine with these settings, and extract the URLs.

    Raises:
        ClipmillError: ``system.config``; the engine or a platform cannot be set up.
        EngineStartError: the engine cannot be started.
    """
    platforms = Platforms.load(settings.platforms)
    egresses = open_egresses(settings)
    pool_settings = engine_settings(settings)
    processes = min(pool_settings.processes, len(urls) * len(egresses))
    pool_settings = msgspec.structs.replace(
        pool_settings, processes=processes, preload=platforms.extractors
    )
    async with EnginePool(pool_settings, *egresses.values()) as pool:
        await check_extractors(platforms, pool, next(iter(egresses)))
        canaries = Canaries(
            platforms,
            pool,
            egresses,
            deadline_seconds=settings.engine.deadline_seconds,
            concurrency=processes * pool_settings.threads_per_process,
        )
        results = await canaries.read(urls)
        stats = pool.stats()
    return Report(
        healthy=all(each.error is None for each in results),
        versions=stats.versions,
        impersonation=stats.impersonation,
        native_proof_of_work=stats.native_proof_of_work,
        javascript=stats.javascript,
        packages_dir=_text(pool_settings.packages_dir),
        results=tuple(map(_redact, results)),
    )


def _redact(result: CanaryResult) -> CanaryResult:
    """Remove credentials and queries of URLs: reports are stored and mailed."""
    reason = redact(result.reason) if result.reason else result.reason
    return msgspec.structs.replace(result, url=redact(result.url), reason=reason)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _print(report: Report) -> None:
    if report.versions is not None:
        click.echo(f"yt-dlp {report.versions.yt_dlp}, curl_cffi {report.versions.curl_cffi}")
    click.echo(f"packages from {report.packages_dir or 'the installation'}")
    hint = "available" if report.impersonation else f"not available: {NO_IMPERSONATION}"
    click.echo(f"impersonation {hint}")
    solver = "the compiled library" if report.native_proof_of_work else "Python, which is slow"
    click.echo(f"proof of work is computed by {solver}")
    limits = "" if report.javascript.is_available else f"; {NO_JAVASCRIPT}"
    click.echo(f"JavaScript is {report.javascript.summary}{limits}")
    open_console().print(_table(report.results))


def _table(results: Sequence[CanaryResult]) -> Table:
    table = Table("URL", "egress", "result", "s", "formats")
    for each in results:
        outcome = "ok" if each.error is None else f"{each.error}: {each.reason}"
        texts = (each.url, each.egress, outcome, f"{each.seconds:.2f}", str(each.formats))
        table.add_row(*map(safe_markup, texts))
    return table
