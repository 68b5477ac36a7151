"""`clipmill engine check`: health check of extraction by canary URLs. Needs no Kafka."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.table import Table

from agents.access.egress import open_egresses
from agents.engine.pool import EnginePool
from agents.engine.starting import EngineStartError
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
    "requests do not look like a browser's, and platforms may refuse them: curl_cffi is missing, or"
    " of a version that this yt-dlp does not take; install the one that clipmill asks for"
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a check, as printed by ``--json``.

    Attributes:
        well: every URL was extracted by every egress.
        versions: of the engine's libraries.
        impersonation: whether requests can impersonate a browser.
        native_proof_of_work: whether challenges are solved by the compiled library.
        packages_dir: folder of yt-dlp, None for the installed one.
        verdicts: one for each URL and egress.
    """

    well: bool
    versions: EngineVersions | None
    impersonation: bool
    native_proof_of_work: bool
    packages_dir: str | None
    verdicts: tuple[CanaryResult, ...]


@click.group()
def engine() -> None:
    """Look at the extraction engine."""


@engine.command()
@click.argument("urls", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON.")
def check(urls: tuple[str, ...], as_json: bool) -> None:
    """Read URLS, or the canaries of the settings; exit status 0 only when all of them can be."""
    settings = load_settings()
    canaries = urls or settings.engine.canaries
    if not canaries:
        raise click.UsageError("no URL was given, and the setting engine.canaries names none")
    with readable_errors():
        report = _run(settings, canaries)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    sys.exit(0 if report.well else 1)


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
        verdicts = await canaries.read(urls)
        stats = pool.stats()
    return Report(
        well=all(verdict.error is None for verdict in verdicts),
        versions=stats.versions,
        impersonation=stats.impersonation,
        native_proof_of_work=stats.native_proof_of_work,
        packages_dir=_text(pool_settings.packages_dir),
        verdicts=tuple(map(_redact, verdicts)),
    )


def _redact(verdict: CanaryResult) -> CanaryResult:
    """Remove credentials and queries of URLs: reports are stored and mailed."""
    reason = redact(verdict.reason) if verdict.reason else verdict.reason
    return msgspec.structs.replace(verdict, url=redact(verdict.url), reason=reason)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _print(report: Report) -> None:
    if report.versions is not None:
        click.echo(f"yt-dlp {report.versions.yt_dlp}, curl_cffi {report.versions.curl_cffi}")
    click.echo(f"packages from {report.packages_dir or 'the installation'}")
    hint = "available" if report.impersonation else f"not available: {NO_IMPERSONATION}"
    click.echo(f"impersonation {hint}")
    solver = "the compiled library" if report.native_proof_of_work else "a slow loop of Python"
    click.echo(f"challenges are solved by {solver}")
    open_console().print(_table(report.verdicts))


def _table(verdicts: Sequence[CanaryResult]) -> Table:
    table = Table("URL", "egress", "verdict", "s", "formats")
    for each in verdicts:
        outcome = "ok" if each.error is None else f"{each.error}: {each.reason}"
        texts = (each.url, each.egress, outcome, f"{each.seconds:.2f}", str(each.formats))
        table.add_row(*map(safe_markup, texts))
    return table
