"""Failed extractions become our errors, by the table of their platform."""

from collections.abc import Sequence
from datetime import UTC, datetime

from agents.engine.interface import EngineFailure
from agents.network.retry_after import parse_retry_after
from agents.platforms.failure_predicates import Row
from agents.platforms.failures import BUG
from schemas.errors import ClipmillError
from schemas.redaction import redact
from schemas.video import VideoRef

MAX_DETAIL_CHARACTERS = 300
MAX_FACTS = 8


def to_clipmill_error(
    failure: EngineFailure, video: VideoRef, *, site: str, table: Sequence[Row]
) -> ClipmillError:
    """Return what a failed extraction of this video means.

    Args:
        failure: what the engine says.
        video: whose page it was.
        site: what people call the platform.
        table: its rows, see `agents.platforms.failures.failure_table`.
    """
    row = find_row(failure, table)
    return explained(row, failure, subject=f"{site} video {video.id}", platform=video.platform)


def explained(row: Row, failure: EngineFailure, *, subject: str, platform: str) -> ClipmillError:
    """Return a failure as the error that its row says.

    Args:
        row: what it means.
        failure: what the engine says.
        subject: whose page it was, in words.
        platform: name of the platform.
    """
    return ClipmillError(
        row.code,
        f"{subject}: {row.text}.",
        retry_after=parse_retry_after(failure.retry_after, datetime.now(UTC)),
        **_details(row, failure, platform),
    )


def find_row(failure: EngineFailure, table: Sequence[Row]) -> Row:
    """Return the first row of the table that fits."""
    return next((row for row in table if row.sign(failure)), BUG)


def _details(row: Row, failure: EngineFailure, platform: str) -> dict[str, str]:
    numbers = {"status": failure.status, "curl_code": failure.curl_code, "errno": failure.errno}
    known = {name: str(number) for name, number in numbers.items() if number is not None}
    noted = sorted(failure.facts.items())[:MAX_FACTS]
    facts = {f"{platform}_{name}": plain(fact) for name, fact in noted}
    types = plain(" < ".join(failure.types))
    return {**facts, **known, "failure": row.name, "types": types, "said": plain(failure.message)}


def plain(text: str) -> str:
    """Return foreign text on one bounded line, without secrets of URLs and yt-dlp's advice."""
    said = text[: 4 * MAX_DETAIL_CHARACTERS].partition("; please report this issue")[0]
    return " ".join(redact(said).split())[:MAX_DETAIL_CHARACTERS]
