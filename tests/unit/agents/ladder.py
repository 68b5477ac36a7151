"""The ladder: what is tried when files of a post cannot be had, row by row.

`tests/samples/ladder.json` has what fails where and what is tried then; `play` has the real
selection and the real recovery do it, without a network. ``python -m tests.unit.agents.ladder``
writes what they do into it, and the table of docs/ladder.md: read the difference, then keep it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agents.formats.selection import Choice, choose_files
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.failure import Failure
from schemas.job import Attempt, Job, PageUse
from schemas.request import Options
from schemas.results import Failed
from schemas.video import SelectedSource, VideoFormat
from streams.records import Effect, Outgoing
from streams.topics import AUDIT
from tests.unit.agents.builders import (
    INFO,
    SOURCE,
    WRITTEN_AT,
    body_of,
    extracted,
    failure_record,
    header,
    make_failure,
    outcome,
    outcomes,
    selected,
)
from tests.unit.agents.recovery.test_agent import recovery_of

SAMPLES = Path(__file__).parents[2] / "samples" / "ladder.json"
DOCUMENT = Path(__file__).parents[3] / "docs" / "ladder.md"
ROUNDS_MAX = 100
"""Far more than any row has: a ladder without an end is noticed."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What fails.

    Attributes:
        files: pattern of the ids that it is about; ``A+B`` of a join.
        code: how.
        pages: it is over with the page after this many; 0: never.
        times: it is over after so often; 0: never.
    """

    files: str
    code: ErrorCode
    pages: int = 0
    times: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the table.

    Attributes:
        what: what fails, and where.
        post: which of `POSTS`.
        faults: the same for machines; the first that fits counts.
        options: of the request.
        cached: pages are remembered.
        tried: what is fetched, in order.
        pages: how often the page is read.
        attempts: of the result.
        end: status or error code of the result.
        changed: words of the result about what was changed, in order.
    """

    what: str
    post: str = "usual"
    faults: tuple[Fault, ...] = ()
    options: Options = Options()
    cached: bool = True
    tried: tuple[str, ...] = ()
    pages: int = 0
    attempts: int = 0
    end: str = ""
    changed: tuple[str, ...] = ()


def _video(name: str, side: int, rate: int, **changes: object) -> VideoFormat:
    plain = VideoFormat(
        format_id=name,
        container="mp4",
        video_codec=name[:4],
        audio_codec="aac",
        width=side,
        height=side * 16 // 9,
        bits_per_second=rate,
        bytes=rate,
    )
    return replace(plain, **changes)


def _hosts(name: str, side: int, rate: int, **changes: object) -> tuple[VideoFormat, ...]:
    return tuple(_video(f"{name}-{host}", side, rate, **changes) for host in (0, 1))


_MARKED = _video("h264_marked", 720, 1_000, watermarked=True)
_SONG = VideoFormat(format_id="audio", container="m4a", audio_codec="aac", song=True)
_USUAL = (
    *_hosts("h264_1080", 1080, 1_600),
    *_hosts("h265_1080", 1080, 900),
    *_hosts("h264_720", 720, 800),
    *_hosts("h265_720", 720, 400),
    *_hosts("h264_540", 576, 480),
    _MARKED,
    _SONG,
)
_PHOTOS = (
    *(
        VideoFormat(format_id=f"image-{place}-{host}", container="jpeg", picture=place)
        for place in (1, 2)
        for host in "ab"
    ),
    _SONG,
)


def _without_sound(formats: Sequence[VideoFormat], pattern: str) -> tuple[VideoFormat, ...]:
    return tuple(
        replace(each, audio_codec=None) if fnmatchcase(each.format_id, pattern) else each
        for each in formats
    )


POSTS: Mapping[str, tuple[VideoFormat, ...]] = {
    "usual": _USUAL,
    "one file": _USUAL[:1],
    "untold sizes": tuple(replace(each, bytes=None) for each in _USUAL),
    "1080p by its path a picture only": _without_sound(_USUAL[2:], "h265_1080-*"),
    "H.265 by its path a picture only": _without_sound(_USUAL, "h265_*"),
    "silent by its page": _without_sound(_USUAL, "h26*"),
    "photos": _PHOTOS,
}


async def play(row: Row) -> Row:
    """Return a row with what is done about its faults."""
    world = _World(row)
    job = Job(
        request_id="r1",
        url=INFO.url,
        action="download",
        options=row.options,
        received_at=WRITTEN_AT,
        trace_id="0" * 32,
    )
    recovery, event = recovery_of(), None
    for _ in range(ROUNDS_MAX):
        failure = world.fetch(job) if event is None else world.fetch_again(event)
        if failure is None:
            return world.played(job.attempts, len(job.attempts) + 1, world.result)
        effects = await recovery.handle(failure_record(failure))
        if outcomes(effects):
            ended = outcome(effects)
            tried = ended.recovery if isinstance(ended, Failed) else job.attempts
            return world.played(tried, ended.attempts, ended.error.error_type)
        sent = _sent(effects)
        event = body_of(sent, SelectedVideo) if header(sent, "ce_type") == SELECTED_TYPE else None
        job = body_of(sent, _Event).job
    raise AssertionError(f"{row.what}: no end")


SELECTED_TYPE = "io.clipmill.video.selected.v1"


class _Event(msgspec.Struct, frozen=True):
    job: Job


def _sent(effects: Sequence[Effect]) -> Outgoing:
    (found,) = [it for it in effects if isinstance(it, Outgoing) and it.topic is not AUDIT]
    return found


class _World:
    """A post whose files fail as a row says."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._formats = POSTS[row.post]
        self._pages = 0
        self._uses: dict[Fault, int] = {}
        self._tried: list[str] = []
        self.result = ""

    def fetch(self, job: Job) -> Failure | None:
        """Read the page if need be, choose, fetch; return what fails."""
        page = job.page
        if page.read_at is None or page.outdated or not self._row.cached:
            self._pages += 1
        read_at = WRITTEN_AT + timedelta(seconds=self._pages)
        job = replace(job, page=PageUse(read_at=read_at, reads=self._pages))
        try:
            chosen = choose_files(
                self._formats, job.options, job.avoid_formats, silent=job.silent_formats
            )
        except ClipmillError as error:
            return make_failure(error.code, replace(extracted(), job=job), step="selection")
        event = replace(
            selected(),
            job=job,
            info=replace(INFO, formats=self._formats),
            sources=tuple(_source(each) for each in chosen),
        )
        return self.fetch_again(event)

    def fetch_again(self, event: SelectedVideo) -> Failure | None:
        self._tried.append(" ".join(source.format_id for source in event.sources))
        for source in event.sources:
            parts = [source.format]
            if source.sound_from is not None:
                joined = replace(source.format, format_id=source.format_id, audio_codec=None)
                parts = [source.sound_from.format, source.format, joined]
            for part in parts:
                code = self._fault(part)
                if code is not None:
                    return _failure(event, code, part.format_id)
        silent = [
            it
            for it in event.sources
            if it.format.video_codec and not (it.format.audio_codec or it.sound_from)
        ]
        self.result = "completed, silent" if silent else "completed"
        return None

    def _fault(self, part: VideoFormat) -> ErrorCode | None:
        for fault in self._row.faults:
            over = fault.pages and self._pages > fault.pages
            if over or not fnmatchcase(part.format_id, fault.files):
                continue
            if fault.code is ErrorCode.CONTENT_NO_SOUND and part.audio_codec is None:
                continue
            self._uses[fault] = self._uses.get(fault, 0) + 1
            if fault.times == 0 or self._uses[fault] <= fault.times:
                return fault.code
        return None

    def played(self, recovery: Sequence[Attempt], attempts: int, end: str) -> Row:
        """Return the row as it went."""
        words = [
            "; ".join(f"{name}: {words}" for name, words in sorted(attempt.changed.items()))
            for attempt in recovery
            if attempt.changed
        ]
        return replace(
            self._row,
            tried=tuple(self._tried),
            pages=self._pages,
            attempts=attempts,
            end=str(end),
            changed=tuple(words),
        )


def _source(chosen: Choice) -> SelectedSource:
    sound = chosen.sound_from
    joined = None if sound is None else replace(SOURCE, format=sound)
    return SelectedSource(format=chosen.format, url=SOURCE.url, sound_from=joined)


def _failure(event: SelectedVideo, code: ErrorCode, format_id: str) -> Failure:
    return make_failure(
        code,
        event,
        step="download",
        platform="tiktok",
        operation="download",
        egress="direct",
        format_id=format_id,
    )


def rows() -> list[Row]:
    """Return the table."""
    return msgspec.json.decode(SAMPLES.read_bytes(), type=list[Row])


def table(played: Sequence[Row]) -> str:
    """Return the table as docs/ladder.md has it."""
    head = "| what fails, where | asked for | tried, in order | pages | attempts | end |"
    lines = [head, "|---|---|---|---|---|---|", *(_line(row) for row in played)]
    return "\n".join(lines)


def _line(row: Row) -> str:
    plain = msgspec.to_builtins(Options())
    asked = [
        f"{name}={value}"
        for name, value in msgspec.to_builtins(row.options).items()
        if value != plain[name]
    ]
    what = row.what if row.post == "usual" else f"{row.what} ({row.post})"
    tried = ", ".join(row.tried)
    ends = row.end, " ".join(asked) or "best"
    return f"| {what} | {ends[1]} | {tried} | {row.pages} | {row.attempts} | {ends[0]} |"


def in_document(document: str, shown: str) -> str:
    """Return the document with this table in place of its own."""
    before, _, rest = document.partition("| what fails, where |")
    after = rest[rest.index("\n\n") :] if "\n\n" in rest else "\n"
    return f"{before}{shown}{after}"


def write() -> None:
    """Write what is done now into the samples and the document."""

    async def played() -> list[Row]:
        return [await play(row) for row in rows()]

    now = asyncio.run(played())
    SAMPLES.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
    DOCUMENT.write_text(in_document(DOCUMENT.read_text(), table(now)))


if __name__ == "__main__":
    write()
