"""Maps failed extractions to `ClipmillError`, by the failure table of the platform."""

from collections.abc import Sequence
from datetime import UTC, datetime

from agents.engine.interface import EngineFailure
from agents.network.retry_after import parse_retry_after
from agents.platforms.failure_predicates import FailureRow
from agents.platforms.failures import BUG
from schemas.errors import ClipmillError
from schemas.listing import ListingRef
from schemas.redaction import redact
from schemas.video import VideoRef

MAX_DETAIL_CHARACTERS = 300
MAX_FACTS = 8


def to_clipmill_error(
    failure: EngineFailure,
    subject: VideoRef | ListingRef,
    *,
    site: str,
    table: Sequence[FailureRow],
) -> ClipmillError:
    """Return the error of a failed extraction.

    Args:
        failure: failure that the engine reported.
        subject: the post or listing whose page was read.
        site: display name of the platform.
        table: failure table of the platform, see `agents.platforms.failures.failure_table`.
    """
    row = find_row(failure, table)
    return error_from_row(row, failure, subject=subject, site=site)


def error_from_row(
    row: FailureRow, failure: EngineFailure, *, subject: VideoRef | ListingRef, site: str
) -> ClipmillError:
    """Return the error of a failure that matches a row, which supplies code and text."""
    kind = subject.kind if isinstance(subject, ListingRef) else "video"
    return ClipmillError(
        row.code,
        f"{site} {kind} {subject.id}: {row.text}.",
        retry_after=parse_retry_after(failure.retry_after, datetime.now(UTC)),
        **_details(row, failure, subject.platform),
    )


def find_row(failure: EngineFailure, table: Sequence[FailureRow]) -> FailureRow:
    """Return the first row of the table that matches, `BUG` when none does."""
    return next((row for row in table if row.predicate(failure)), BUG)


def _details(row: FailureRow, failure: EngineFailure, platform: str) -> dict[str, str]:
    numbers = {"status": failure.status, "curl_code": failure.curl_code, "errno": failure.errno}
    codes = {name: str(number) for name, number in numbers.items() if number is not None}
    recorded = sorted(failure.facts.items())[:MAX_FACTS]
    facts = {f"{platform}_{name}": sanitize(fact) for name, fact in recorded}
    types = sanitize(" < ".join(failure.types))
    said = sanitize(failure.message)
    return {**facts, **codes, "failure": row.name, "types": types, "said": said}


def sanitize(text: str) -> str:
    """Return untrusted text as one bounded line, without URL secrets and yt-dlp's bug advice."""
    message = text[: 4 * MAX_DETAIL_CHARACTERS].partition("; please report this issue")[0]
    return " ".join(redact(message).split())[:MAX_DETAIL_CHARACTERS]
