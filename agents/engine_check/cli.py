"""`clipmill engine check`: health check of extraction by canary URLs. Needs no Kafka."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from agents.access.egress import open_egresses
from agents.engine.javascript_support import JavaScriptSupport
from agents.engine.pool import EnginePool
from agents.engine.supervisor import EngineStartError
from agents.engine_check.canaries import Canaries, CanaryResult
from agents.extraction.engine import engine_settings
from agents.platforms.extractor_names import check_extractors
from agents.platforms.registry import Platforms
from schemas.redaction import redact
from schemas.video import EngineVersions
from streams.cli.errors import readable_errors
from streams.cli.result_table import open_console, safe_markup
from streams.settings import Settings, load_settings

NO_IMPERSONATION = (
    "requests do not impersonate a browser, and platforms may reject them: curl_cffi is missing, or"
    " this yt-dlp does not support its version; install the version that clipmill requires"
)

NO_JAVASCRIPT = "YouTube is read without logins, and without videos that are made for kids"


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
