"""Failed extractions become our errors; which one is said by the table in `failures`."""

from datetime import UTC, datetime

from agents.engine.interface import EngineFailure
from agents.network.retry_after import parse_retry_after
from agents.platforms.tiktok.failures import BUG, TABLE
from agents.platforms.tiktok.rows import Row
from schemas.errors import ClipmillError
from schemas.redaction import redact
from schemas.video import VideoRef

MAX_DETAIL_CHARACTERS = 300
MAX_FACTS = 8


def to_clipmill_error(failure: EngineFailure, video: VideoRef) -> ClipmillError:
    """Return what a failed extraction of this video means."""
    row = find_row(failure)
    return ClipmillError(
        row.code,
        f"TikTok video {video.id}: {row.text}.",
        retry_after=parse_retry_after(failure.retry_after, datetime.now(UTC)),
        **_details(row, failure),
    )


def find_row(failure: EngineFailure) -> Row:
    """Return the first row of the table that fits."""
    return next((row for row in TABLE if row.sign(failure)), BUG)


def _details(row: Row, failure: EngineFailure) -> dict[str, str]:
    numbers = {"status": failure.status, "curl_code": failure.curl_code, "errno": failure.errno}
    known = {name: str(number) for name, number in numbers.items() if number is not None}
    facts = {f"tiktok_{name}": plain(fact) for name, fact in _bounded_facts(failure)}
    types = plain(" < ".join(failure.types))
    return {**facts, **known, "failure": row.name, "types": types, "said": plain(failure.message)}


def _bounded_facts(failure: EngineFailure) -> list[tuple[str, str]]:
    return sorted(failure.facts.items())[:MAX_FACTS]


def plain(text: str) -> str:
    """Return foreign text on one bounded line, without secrets of URLs and yt-dlp's advice."""
    said = text[: 4 * MAX_DETAIL_CHARACTERS].partition("; please report this issue")[0]
    return " ".join(redact(said).split())[:MAX_DETAIL_CHARACTERS]
