"""`clipmill storage`: checks the storage, and removes open uploads. Needs no Kafka."""

import asyncio
import os
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click
import msgspec
from rich.table import Table

from agents.access.storage import object_store_settings, open_storage
from agents.storage_check.open_uploads import list_open_uploads, remove_upload
from agents.storage_check.report import CheckResult, CheckState, StorageReport
from agents.storage_check.s3_requests import Login
from schemas.errors import ClipmillError
from streams.cli.errors import readable_errors
from streams.cli.result_table import open_console, safe_markup
from streams.moments import parse_past
from streams.settings import Settings, load_settings


@click.group()
def storage() -> None:
    """Look at the storage of finished files."""


@storage.command()
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON.")
def check(as_json: bool) -> None:
    """Do each operation of the storage once; exit status 0 only when all of them work."""
    settings = load_settings()
    with readable_errors():
        report = asyncio.run(check_storage(settings))
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    sys.exit(0 if report.healthy else 1)


@storage.command()
@click.option("--before", default="1d", help="Begun before: RFC 3339, or 2h, 3d ago.")
@click.option("--remove", is_flag=True, help="Remove the parts of these uploads.")
def uploads(before: str, remove: bool) -> None:
    """List uploads to S3 that have not ended, of killed workers for example; without --remove."""
    settings = load_settings()
    with readable_errors():
        store, login = object_store_settings(settings), Login.from_environment(os.environ)
    if store is None or urlsplit(store.url).scheme != "s3" or login is None:
        raise click.UsageError(
            "open uploads are those of s3:// in storage.url, with AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY in the environment"
        )
    try:
        limit = parse_past(before, datetime.now(UTC))
    except ValueError as error:
        raise click.UsageError(f"--before: {error}") from None
    with _readable_answers():
        found = [each for each in list_open_uploads(store, login) if each.started_at < limit]
        for each in found:
            click.echo(f"{each.started_at.isoformat()} {each.key}")
            if remove:
                remove_upload(store, login, each)
    click.echo(f"{len(found)} uploads{' removed' if remove else ''}")


@contextmanager
def _readable_answers() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise click.ClickException(f"the store answered {error.code}") from None
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the store cannot be asked: {error}") from None


async def check_storage(settings: Settings) -> StorageReport:
    """Check the storage of the settings.

    Raises:
        ClipmillError: ``system.config``; the settings cannot be used.
    """
    store = object_store_settings(settings)
    if store is None:
        checks, name = [await _check_directory(settings)], str(settings.data_dir.absolute())
    else:
        # Lazy import: obstore is an extra.
        from agents.storage_check.checks import check_object_store  # noqa: PLC0415

        checks, name = await check_object_store(store), store.url
    is_healthy = all(each.state is not CheckState.FAILED for each in checks)
    return StorageReport(storage=name, healthy=is_healthy, checks=tuple(checks))


async def _check_directory(settings: Settings) -> CheckResult:
    name = "write and remove a file"
    try:
        async with open_storage(settings) as opened:
            await opened.probe()
            free = await opened.free_bytes()
    except ClipmillError as error:
        return CheckResult(name, CheckState.FAILED, error.message)
    return CheckResult(name, CheckState.OK, f"{free / 1e9:.1f} GB are free")


def _print(report: StorageReport) -> None:
    click.echo(f"storage {report.storage}")
    table = Table("check", "state", "found")
    for each in report.checks:
        table.add_row(each.name, each.state, safe_markup(each.text))
    open_console().print(table)
