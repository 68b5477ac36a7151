"""`clipmill submit`: publish requests for URLs, or for files of millions of lines."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import MAX_BATCH_URLS, Request
from streams.cli.errors import readable_errors
from streams.cli.options import bootstrap_option, client_settings
from streams.cli.request_options import request_fields, request_options
from streams.cli.submission import Submission
from streams.cli.waiting import FAILED_STATUS
from streams.new_requests import RequestBuilder, new_id
from streams.settings import Settings


@click.command()
@click.argument("urls", nargs=-1)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="One URL or JSON request per line; # starts a comment. - is standard input.",
)
@request_options
@click.option(
    "--batch", type=click.IntRange(1, MAX_BATCH_URLS), help="Maximum URLs in one request."
)
@bootstrap_option
@click.option("--wait", is_flag=True, help="Wait for the results.")
@click.option("--json", "as_json", is_flag=True, help="One result (or request) per line.")
@click.option(
    "--timeout",
    default=600.0,
    show_default=True,
    help="Timeout in seconds after the last request is published.",
)
@click.pass_context
def submit(
    context: click.Context,
    /,
    *,
    urls: tuple[str, ...],
    files: tuple[str, ...],
    batch: int | None,
    bootstrap: str | None,
    wait: bool,
    as_json: bool,
    timeout: float,
    **given: Any,
) -> None:
    """Publish a request for each of URLS, and for each line of files.

    A line that is a JSON object is a complete request; options supply its missing fields. Lines are
    published as they are read. An invalid line ends the command: requests before it stay published,
    and none is processed twice if the corrected file is submitted with the same --id within a day.

    Exit status 0: all published and, with --wait, completed; 2: at least one was not completed.
    """
    if not (urls or files):
        raise click.UsageError("Missing argument 'URLS...', or --file FILE (- is standard input)")
    fields = request_fields(given)
    _check(fields)
    if wait and "reply_to" in fields:
        raise click.UsageError(
            "--wait reads the results topic, --reply-to replaces it by another one"
        )
    name = fields.pop("id", None)
    builder = RequestBuilder(
        name or new_id(),
        fields,
        batch=batch,
        single=not files and len(urls) <= (batch or 1),
    )
    settings = client_settings(bootstrap)
    submission = Submission(settings.kafka, builder, as_json=as_json)
    # Requests with the same ids may have been published before and already have results.
    may_be_known = name is not None or files
    known_since = _known_since(settings) if may_be_known else None
    with readable_errors():
        if wait:
            asyncio.run(submission.publish_and_wait((urls, files), timeout, known_since))
        else:
            asyncio.run(submission.publish_only((urls, files)))
    if submission.results.counts.keys() - {"completed"}:
        context.exit(FAILED_STATUS)


def _known_since(settings: Settings) -> datetime:
    """Return the time since which the ledger retains decided requests."""
    return datetime.now(UTC) - timedelta(seconds=settings.ledger.remember_seconds)


def _check(fields: dict[str, Any]) -> None:
    """Reject options that are invalid in any request."""
    try:
        decode(encode(fields), Request)
    except MalformedMessageError as error:
        raise click.UsageError(str(error)) from None
