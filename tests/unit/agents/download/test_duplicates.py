"""Equal files of two posts."""

import hashlib
from pathlib import Path

from msgspec.structs import replace

from agents.network.download import Fetched
from agents.storage.local import LocalStorage
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.request import Options
from schemas.results import Completed
from tests.unit.agents.builders import VIDEO, make_settings, outcome, selected
from tests.unit.agents.download.test_agent import BODY, DownloadHarness, FakeFetcher

OTHER = replace(VIDEO, id="7999999999999999999")


class DigestingFetcher(FakeFetcher):
    async def fetch(self, *args: object, **options: object) -> Fetched:
        fetched = await super().fetch(*args, **options)  # type: ignore[arg-type]
        return replace(fetched, sha256=hashlib.sha256(BODY).hexdigest())


async def run(harness: DownloadHarness, event: SelectedVideo) -> StoredFile:
    result = outcome(await harness.run(event))
    assert isinstance(result, Completed)
    return result.files[0]


async def test_result_names_the_file_that_has_the_same_bytes(tmp_path: Path) -> None:
    async with LocalStorage.open(tmp_path) as storage:
        harness = DownloadHarness(storage, make_settings(data_dir=tmp_path))
        harness.fetcher = DigestingFetcher()
        first = await run(harness, selected())
        second = await run(harness, replace(selected(), video=OTHER))
        assert (first.duplicate_of, second.duplicate_of) == (None, first.uri)
        again = await run(harness, replace(selected(), video=OTHER))
        assert (again.reused, again.duplicate_of) == (True, first.uri)
        refreshed = await run(harness, selected(options=Options(refresh=True)))
        assert not refreshed.reused
        assert refreshed.duplicate_of is None
