"""The ladder: which formats are tried when files of a post cannot be downloaded, row by row.

`tests/samples/ladder.json` has the faults and the expected attempts of each row; `play` runs a row
through the real selection and recovery, without a network. ``python -m tests.unit.agents.ladder``
writes the current behaviour to the samples and to the table of docs/fallback-order.md: review the
diff.
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
from schemas.events import Failure, SelectedVideo
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
DOCUMENT = Path(__file__).parents[3] / "docs" / "fallback-order.md"
ROUNDS_MAX = 100
"""Bound on the rounds of a row, far above the longest, so that an endless ladder fails."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fault of files.

    Attributes:
        files: pattern of the affected format ids; ``A+B`` for a joined file.
        code: error code of the fault.
        pages: number of pages after which the fault is gone; 0: never.
        times: number of failures after which the fault is gone; 0: never.
    """

    files: str
    code: ErrorCode
    pages: int = 0
    times: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the table.

    Attributes:
        what: description of the faults.
        post: key of `POSTS`.
        faults: the faults; the first that matches applies.
        options: options of the request.
        cached: whether pages are cached.
        tried: fetched formats, in order.
        pages: number of page reads.
        attempts: attempts of the result.
        end: status or error code of the result.
        changed: changes listed in the result, in order.
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
    defaults = VideoFormat(
        format_id=name,
        container="mp4",
        video_codec=name[:4],
        audio_codec="aac",
        width=side,
        height=side * 16 // 9,
        bits_per_second=rate,
        bytes=rate,
    )
    return replace(defaults, **changes)


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
        VideoFormat(format_id=f"image-{index}-{host}", container="jpeg", picture=index)
        for index in (1, 2)
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
    """Run a row; return it with the attempts that were made."""
    simulation = _SimulatedPost(row)
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
        failure = simulation.fetch(job) if event is None else simulation.fetch_again(event)
        if failure is None:
            return simulation.result_row(job.attempts, len(job.attempts) + 1, simulation.result)
        effects = await recovery.handle(failure_record(failure))
        if outcomes(effects):
            ended = outcome(effects)
            tried = ended.recovery if isinstance(ended, Failed) else job.attempts
            return simulation.result_row(tried, ended.attempts, ended.error.error_type)
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


class _SimulatedPost:
    """A post whose files have the faults of a row."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._formats = POSTS[row.post]
        self._pages = 0
        self._uses: dict[Fault, int] = {}
        self._tried: list[str] = []
        self.result = ""

    def fetch(self, job: Job) -> Failure | None:
        """Read the page unless cached, select and fetch; return the failure, if any."""
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
            fixed = fault.pages and self._pages > fault.pages
            if fixed or not fnmatchcase(part.format_id, fault.files):
                continue
            if fault.code is ErrorCode.CONTENT_NO_SOUND and part.audio_codec is None:
                continue
            self._uses[fault] = self._uses.get(fault, 0) + 1
            if fault.times == 0 or self._uses[fault] <= fault.times:
                return fault.code
        return None

    def result_row(self, recovery: Sequence[Attempt], attempts: int, end: str) -> Row:
        changed = [
            "; ".join(f"{name}: {change}" for name, change in sorted(attempt.changed.items()))
            for attempt in recovery
            if attempt.changed
        ]
        return replace(
            self._row,
            tried=tuple(self._tried),
            pages=self._pages,
            attempts=attempts,
            end=str(end),
            changed=tuple(changed),
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
    """Return the rows of the samples."""
    return msgspec.json.decode(SAMPLES.read_bytes(), type=list[Row])


def table(played: Sequence[Row]) -> str:
    """Return the rows as the Markdown table of docs/fallback-order.md."""
    head = "| what fails, where | asked for | tried, in order | pages | attempts | end |"
    lines = [head, "|---|---|---|---|---|---|", *(_line(row) for row in played)]
    return "\n".join(lines)


def _line(row: Row) -> str:
    defaults = msgspec.to_builtins(Options())
    requested = [
        f"{name}={value}"
        for name, value in msgspec.to_builtins(row.options).items()
        if value != defaults[name]
    ]
    what = row.what if row.post == "usual" else f"{row.what} ({row.post})"
    tried = ", ".join(row.tried)
    ends = row.end, " ".join(requested) or "best"
    return f"| {what} | {ends[1]} | {tried} | {row.pages} | {row.attempts} | {ends[0]} |"


def with_table(document: str, new_table: str) -> str:
    """Return the document with its table replaced."""
    before, _, rest = document.partition("| what fails, where |")
    after = rest[rest.index("\n\n") :] if "\n\n" in rest else "\n"
    return f"{before}{new_table}{after}"


def write() -> None:
    """Write the current behaviour to the samples and the document."""

    async def play_all() -> list[Row]:
        return [await play(row) for row in rows()]

    now = asyncio.run(play_all())
    SAMPLES.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), table(now)))


if __name__ == "__main__":
    write()
