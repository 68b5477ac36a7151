"""`clipmill files`: lists, verifies and removes stored files. Needs no Kafka."""

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime

import click
import msgspec

from agents.access.storage import open_storage
from agents.storage import PublishedFile
from agents.storage_check.file_check import FileState, VerifiedFile, verify_files
from agents.storage_check.retention import files_to_remove
from streams.cli.errors import readable_errors
from streams.moments import parse_past
from streams.settings import Settings, load_settings


@click.group()
def files() -> None:
    """Look at the stored files."""


@files.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
def list_files(as_json: bool) -> None:
    """List the files of the storage: time of publication, bytes, URI."""
    settings = load_settings()
    with readable_errors():
        asyncio.run(_list(settings, as_json=as_json))


async def _list(settings: Settings, *, as_json: bool) -> None:
    async with open_storage(settings) as storage:
        async for each in storage.files():
            moment = datetime.fromtimestamp(each.published_at, UTC).isoformat(timespec="seconds")
            line = f"{moment} {each.bytes:>12} {each.uri}"
            click.echo(msgspec.json.encode(each) if as_json else line)


@files.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
def verify(as_json: bool) -> None:
    """Read all files and compare their digests; exit status 0 only when none is damaged."""
    settings = load_settings()
    with readable_errors():
        states = asyncio.run(_verify(settings, as_json=as_json))
    if not as_json:
        click.echo(", ".join(f"{states[each]} {each}" for each in FileState))
    sys.exit(1 if states[FileState.DAMAGED] else 0)


@files.command()
@click.option("--before", help="Files published before: RFC 3339, or 30d ago.")
@click.option("--keep-bytes", type=click.IntRange(min=0), help="The oldest beyond these bytes.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
def remove(before: str | None, keep_bytes: int | None, dry_run: bool) -> None:
    """Remove old files, oldest first: those before a time, those beyond a size, or both."""
    if before is None and keep_bytes is None:
        raise click.UsageError("give --before, --keep-bytes, or both")
    try:
        limit = None if before is None else parse_past(before, datetime.now(UTC)).timestamp()
    except ValueError as error:
        raise click.UsageError(f"--before: {error}") from None
    settings = load_settings()
    with readable_errors():
        found = asyncio.run(_remove(settings, limit, keep_bytes, dry_run=dry_run))
    total = sum(each.bytes for each in found)
    click.echo(f"{len(found)} files of {total} bytes{'' if dry_run else ' removed'}")


async def _remove(
    settings: Settings, before: float | None, keep_bytes: int | None, *, dry_run: bool
) -> list[PublishedFile]:
    async with open_storage(settings) as storage:
        stored = [each async for each in storage.files()]
        found = files_to_remove(stored, before=before, keep_bytes=keep_bytes)
        for each in found:
            click.echo(each.uri)
            if not dry_run:
                await storage.remove(each.uri)
    return found


async def _verify(settings: Settings, *, as_json: bool) -> Counter[FileState]:
    states: Counter[FileState] = Counter()
    async with open_storage(settings) as storage:
        async for each in verify_files(storage):
            states[each.state] += 1
            if as_json or each.state is not FileState.OK:
                click.echo(_line(each, as_json=as_json))
    return states


def _line(file: VerifiedFile, *, as_json: bool) -> str:
    return msgspec.json.encode(file).decode() if as_json else f"{file.state} {file.uri}"
