"""The work of the download stage over test doubles of its tools."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.download.agent import Download
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import StoredFileIndex
from agents.download.file_provider import FileProvider
from agents.download.segments.fetcher import TrackFetcher
from agents.download.segments.store import SegmentStore
from agents.download.sidecars import SidecarProvider
from agents.download.source_download import Downloader, SourceDownloader
from agents.download.storage_guard import StorageGuard
from agents.download.subtitles import SubtitleProvider
from agents.download.verification import FileVerifier
from agents.media.prober import Probe
from agents.media.protocol import Answer, TrackFile
from agents.media.remuxer import Remux
from agents.network.resource import FetchedResource
from agents.platforms.registry import Platforms
from agents.storage.interface import Storage
from streams.media_host_waits import MediaHostWaits
from streams.stage import StageContext
from tests.unit.agents.builders import make_gate

PLATFORMS = Platforms.load()


class FakeProbe:
    """Returns, or raises, the given answers one after the other, the last one repeatedly."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.probed_paths: list[Path] = []

    async def probe(self, path: Path) -> Answer:
        self.probed_paths.append(path)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def no_wait(_seconds: float) -> None:
    """Return at once, in place of a backoff."""


class WholeFiles:
    """Base of downloaders of whole files."""

    async def fetch_resource(self, *_args: Any, **_options: Any) -> FetchedResource:
        raise AssertionError("no track is expected")


class FakeRemuxer:
    """Writes files made of the bytes of their sources, or raises ``error`` half-way."""

    def __init__(self, extension: str = "m4a", error: Exception | None = None) -> None:
        self.extension = extension
        self.error = error
        self.made: list[bytes] = []

    async def extract_audio(self, source: Path, target: Path) -> str:
        return self._make([b"sound of ", source], target, self.extension)

    async def mux(self, picture: Path, sound: Path, target: Path) -> str:
        return self._make([picture, b" with the sound of ", sound], target, "mp4")

    async def join(self, tracks: Sequence[tuple[Path, TrackFile]], target: Path) -> str:
        return self._make([b"joined ", *(path for path, _ in tracks)], target, self.extension)

    async def tag(self, source: Path, target: Path, tags: Mapping[str, str]) -> str:
        return self._make([source, f" tagged {dict(tags)}".encode()], target, "mp4")

    def _make(self, parts: Sequence[Path | bytes], target: Path, extension: str) -> str:
        body = b"".join(each if isinstance(each, bytes) else each.read_bytes() for each in parts)
        target.write_bytes(body[: len(body) // 2])
        if self.error is not None:
            raise self.error
        target.write_bytes(body)
        self.made.append(body)
        return extension


def make_download(
    storage: Storage,
    fetchers: Mapping[str, Downloader],
    context: StageContext,
    *,
    probe: Probe | None = None,
    remuxer: Remux | None = None,
    storage_guard: StorageGuard | None = None,
    waits: MediaHostWaits | None = None,
) -> Download:
    waits = waits or MediaHostWaits()
    storage_guard = storage_guard or StorageGuard(
        storage, context.intake, context.settings.download
    )
    sources = SourceDownloader(
        PLATFORMS,
        fetchers,
        gate=make_gate("download", context),
        tracks=TrackFetcher(sleep=no_wait),
        segments=SegmentStore(context.settings.data_dir / "segments"),
        context=context,
        waits=waits,
    )
    verifier = FileVerifier(probe)
    fetcher = FileFetcher(
        sources,
        storage,
        storage_guard=storage_guard,
        verifier=verifier,
        remuxer=remuxer or FakeRemuxer(),
    )
    index = StoredFileIndex(storage, context)
    files = FileProvider(fetcher, index, storage, verifier)
    return Download(
        files,
        index,
        SidecarProvider(files, storage),
        SubtitleProvider(sources, index, storage),
        storage_guard=storage_guard,
        context=context,
        waits=waits,
    )
