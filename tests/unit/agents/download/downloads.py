"""The download stage's work over stand-ins of its tools."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.download.agent import Download
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import StoredFileIndex
from agents.download.storage_guard import StorageGuard
from agents.download.verification import FileVerifier
from agents.media.facts import Answer
from agents.media.prober import Probe
from agents.media.remuxer import Remux
from agents.network.download import MediaFetcher
from agents.platforms.registry import Platforms
from agents.storage.interface import Storage
from streams.stage import StageContext
from tests.unit.agents.builders import make_gate

PLATFORMS = Platforms.load()


class FakeProbe:
    """Finds in every file what a test says, one after the other; the last one stays."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Path] = []

    async def probe(self, path: Path) -> Answer:
        self.asked.append(path)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeRemuxer:
    """Makes files of the names of its sources' bytes, unless it is to fail."""

    def __init__(self, extension: str = "m4a", error: Exception | None = None) -> None:
        self.extension = extension
        self.error = error
        self.made: list[bytes] = []

    async def take_sound(self, source: Path, target: Path) -> str:
        return self._make([b"sound of ", source], target, self.extension)

    async def join(self, picture: Path, sound: Path, target: Path) -> str:
        return self._make([picture, b" with the sound of ", sound], target, "mp4")

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
    fetchers: Mapping[str, MediaFetcher],
    context: StageContext,
    *,
    probe: Probe | None = None,
    remuxer: Remux | None = None,
    outage: StorageGuard | None = None,
) -> Download:
    outage = outage or StorageGuard(storage, context.intake, context.settings.download)
    fetching = FileFetcher(
        PLATFORMS,
        fetchers,
        storage,
        gate=make_gate("download", context),
        outage=outage,
        examiner=FileVerifier(probe),
        remuxer=remuxer or FakeRemuxer(),
        context=context,
    )
    return Download(fetching, StoredFileIndex(storage, context), outage=outage, context=context)
