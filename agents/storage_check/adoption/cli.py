"""`clipmill files adopt`: takes an existing folder into the storage. Needs no Kafka."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import click
import msgspec

from agents.access.storage import open_storage
from agents.media.client import ProcessUnavailableError
from agents.platforms import Platforms
from agents.storage_check.adoption.candidates import FolderError
from agents.storage_check.adoption.folder import AdoptionPlan, FolderAdopter, open_probers
from agents.storage_check.adoption.report import AdoptionResult, AdoptionState
from schemas.path_template import parse_template
from streams.cli.errors import readable_errors
from streams.settings import Settings, load_settings

PROBERS_MAX = 4
"""Processes that read files; each takes a core."""


class AdoptionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of an adoption, as the last line of ``--json``."""

    adopted: int
    stored: int
    known: int
    refused: int
    bytes: int
    dry_run: bool


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Download archive of yt-dlp: its posts without a file are not downloaded.",
)
@click.option("--platform", help="Platform of names without one, as tiktok.")
@click.option("--path-template", help="Template of the folder's paths, besides the storage's own.")
@click.option("--move", is_flag=True, help="Remove each file from the folder once it is stored.")
@click.option("--copy", is_flag=True, help="Copy files instead of linking to them.")
@click.option("--dry-run", is_flag=True, help="Only examine the files.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file, and counts.")
def adopt(
    directory: Path,
    *,
    archive: Path | None,
    platform: str | None,
    path_template: str | None,
    move: bool,
    copy: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take the media files of DIRECTORY into the storage, so that they are not downloaded."""
    if move and copy:
        raise click.UsageError("give --move or --copy, not both")
    settings = load_settings()
    _check(directory, platform, path_template, settings)
    plan = AdoptionPlan(
        folder=directory.resolve(),
        archive=archive,
        platform=platform,
        template=path_template,
        placement="move" if move else "copy" if copy else "link",
        dry_run=dry_run,
    )
    with readable_errors():
        try:
            summary = asyncio.run(_adopt(settings, plan, as_json=as_json))
        except (FolderError, ProcessUnavailableError, OSError) as error:
            raise click.ClickException(f"{error}; run it again to continue") from None
    click.echo(msgspec.json.encode(summary) if as_json else _sentence(summary))


def _check(folder: Path, platform: str | None, template: str | None, settings: Settings) -> None:
    files = (settings.data_dir / "files").resolve()
    resolved = folder.resolve()
    if resolved.is_relative_to(files) or files.is_relative_to(resolved):
        raise click.UsageError(f"DIRECTORY must be apart from the storage, {files}")
    names = Platforms.load(settings.platforms).names
    if platform is not None and platform not in names:
        raise click.UsageError(f"--platform: one of {', '.join(names)}")
    try:
        parse_template(template or "{platform} {id} {format}.{ext}")
    except ValueError as error:
        raise click.UsageError(f"--path-template: {error}") from None


async def _adopt(settings: Settings, plan: AdoptionPlan, *, as_json: bool) -> AdoptionSummary:
    counts, size = Counter[AdoptionState](), 0
    processes = min(PROBERS_MAX, len(os.sched_getaffinity(0)))
    async with open_storage(settings) as storage, open_probers(processes) as probe:
        async for result in FolderAdopter(storage, probe, settings, plan).run():
            counts[result.state] += 1
            size += result.bytes if result.state is AdoptionState.ADOPTED else 0
            if as_json or result.state is AdoptionState.REFUSED:
                click.echo(_line(result, as_json=as_json))
    named = {state.value: counts[state] for state in AdoptionState}
    return AdoptionSummary(**named, bytes=size, dry_run=plan.dry_run)


def _line(result: AdoptionResult, *, as_json: bool) -> str:
    shown = msgspec.structs.replace(
        result, path=printable(result.path), reason=printable(result.reason or "") or None
    )
    if as_json:
        return msgspec.json.encode(shown).decode()
    return f"{shown.state} {shown.path}: {shown.reason}"


def printable(text: str) -> str:
    """Return a text without control characters, which a file name may contain, and as UTF-8."""
    escaped = (it if it.isprintable() else ascii(it)[1:-1] for it in text)
    return "".join(escaped)


def _sentence(summary: AdoptionSummary) -> str:
    counts = msgspec.structs.asdict(summary)
    text = ", ".join(f"{counts[state.value]} {state}" for state in AdoptionState)
    adopted = f"{summary.bytes} bytes{' to adopt' if summary.dry_run else ' adopted'}"
    return f"{text}; {adopted}"
