"""`clipmill files`: lists, verifies and removes stored files. Needs no Kafka."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum

import click
import msgspec

from agents.access.storage import open_storage
from agents.platforms import Platforms
from agents.storage import FileGoneError, PublishedFile, Storage
from agents.storage.retention import RetentionLimit, RetentionPlan, RetentionRules
from agents.storage.withheld_posts import withheld_keys
from agents.storage.writing import digest_of
from agents.storage_check.adoption.cli import adopt
from agents.storage_check.removal import RemovedPost, post_of, remove_posts
from schemas.video import VideoRef
from streams.cli.errors import readable_errors
from streams.moments import parse_past
from streams.settings import Settings, load_settings


class FileState(StrEnum):
    """Outcome of the verification of a file."""

    OK = "ok"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    GONE = "gone"


class VerifiedFile(msgspec.Struct, frozen=True):
    """A file and its state; ``unknown``: it was published without a digest."""

    uri: str
    bytes: int
    state: FileState


@click.group()
def files() -> None:
    """Look at the stored files."""


files.add_command(adopt)


@files.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
@click.option("--withheld", is_flag=True, help="Instead the posts that are not downloaded.")
def list_files(as_json: bool, withheld: bool) -> None:
    """List the files of the storage: time of publication, bytes, URI."""
    settings = load_settings()
    with readable_errors():
        if withheld:
            asyncio.run(_list_withheld(settings, as_json=as_json))
        else:
            asyncio.run(_list(settings, as_json=as_json))


async def _list_withheld(settings: Settings, *, as_json: bool) -> None:
    async with open_storage(settings) as storage:
        async for key in withheld_keys(storage.records):
            click.echo(msgspec.json.encode({"video_key": key}) if as_json else key)


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


async def verify_files(storage: Storage) -> AsyncIterator[VerifiedFile]:
    """Verify all files, one after the other.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read.
    """
    async for file in storage.files():
        yield VerifiedFile(file.uri, file.bytes, await _state(storage, file))


async def _state(storage: Storage, file: PublishedFile) -> FileState:
    expected = await storage.digest(file.uri)
    if expected is None:
        return FileState.UNKNOWN
    try:
        async with storage.reading(file.uri) as path:
            found = await digest_of(path)
    except FileGoneError:
        return FileState.GONE
    return FileState.OK if found == expected else FileState.DAMAGED


@files.command()
@click.argument("posts", nargs=-1)
@click.option("--forget", is_flag=True, help="The POSTS may be downloaded again.")
@click.option("--before", help="Files published before: RFC 3339, or 30d ago.")
@click.option("--keep-bytes", type=click.IntRange(min=0), help="The oldest beyond these bytes.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
def remove(
    posts: tuple[str, ...],
    *,
    forget: bool,
    before: str | None,
    keep_bytes: int | None,
    dry_run: bool,
) -> None:
    """Remove the files of POSTS (links, or keys as tiktok:7), which are not downloaded again.

    Without POSTS: remove old files, oldest first: those before a time, those beyond a size, or
    both. They are downloaded again when they are requested.
    """
    by_age = before is not None or keep_bytes is not None
    if by_age == bool(posts) or (forget and not posts):
        raise click.UsageError("give POSTS, or else --before, --keep-bytes, or both")
    settings = load_settings()
    if posts:
        _remove_posts(settings, posts, forget=forget, dry_run=dry_run)
        return
    try:
        limit = None if before is None else parse_past(before, datetime.now(UTC)).timestamp()
    except ValueError as error:
        raise click.UsageError(f"--before: {error}") from None
    with readable_errors():
        found = asyncio.run(_remove(settings, limit, keep_bytes, dry_run=dry_run))
    total = sum(each.bytes for each in found)
    click.echo(f"{len(found)} files of {total} bytes{'' if dry_run else ' removed'}")


def _remove_posts(
    settings: Settings, posts: tuple[str, ...], *, forget: bool, dry_run: bool
) -> None:
    with readable_errors():
        platforms = Platforms.load(settings.platforms)
        named = [post_of(each, platforms) for each in posts]
        removed = asyncio.run(_remove_files_of(settings, named, forget=forget, dry_run=dry_run))
    for post in removed:
        for uri in post.uris:
            click.echo(uri)
        state = "" if dry_run else " removed"
        click.echo(f"{post.video_key}: {len(post.uris)} files of {post.bytes} bytes{state}")


async def _remove_files_of(
    settings: Settings, posts: list[VideoRef], *, forget: bool, dry_run: bool
) -> list[RemovedPost]:
    template = settings.storage.path_template
    async with open_storage(settings) as storage:
        return await remove_posts(storage, posts, template, forget=forget, dry_run=dry_run)


async def _remove(
    settings: Settings, before: float | None, keep_bytes: int | None, *, dry_run: bool
) -> list[PublishedFile]:
    limit = RetentionLimit(seconds=None if before is None else 0.0, bytes=keep_bytes)
    plan = RetentionPlan(RetentionRules(all=limit), before or 0.0)
    async with open_storage(settings) as storage:
        async for each in storage.files():
            plan.add(each)
        found = [removal.file for removal in plan.removals()]
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
