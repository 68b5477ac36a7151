from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.storage.local import LocalStorage
from agents.storage.withheld_posts import find_withheld, withhold
from schemas.errors import ErrorCode
from schemas.request import Options
from schemas.results import Completed
from tests.unit.agents.builders import VIDEO, failure, make_settings, outcome, selected
from tests.unit.agents.download.test_agent import DownloadHarness, raising

REFRESH = Options(refresh=True)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[DownloadHarness]:
    async with LocalStorage.open(tmp_path) as storage:
        yield DownloadHarness(storage, make_settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("removed", "removed on 20"), ("archived", "listed in a download archive that was adopted")],
)
async def test_withheld_post_is_not_downloaded(
    cause: str, reason: str, harness: DownloadHarness
) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, cause)  # type: ignore[arg-type]
    error = failure(await harness.run(selected())).error
    assert error.error_type is ErrorCode.CONTENT_WITHHELD
    assert reason in error.technical_details["reason"]
    assert error.recovery_options == ("clipmill retry r1 --refresh",)
    assert harness.fetcher.limits == []


async def test_refresh_downloads_a_withheld_post_which_is_not_withheld_any_more(
    harness: DownloadHarness,
) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    assert isinstance(outcome(await harness.run(selected(options=REFRESH))), Completed)
    assert await find_withheld(harness.storage.records, VIDEO.platform, VIDEO.id) is None
    result = outcome(await harness.run(selected()))
    assert isinstance(result, Completed)
    assert result.files[0].reused


async def test_failed_refresh_leaves_the_post_withheld(harness: DownloadHarness) -> None:
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    harness.fetcher.then = raising(ErrorCode.NETWORK_CONNECTION)
    error = failure(await harness.run(selected(options=REFRESH))).error
    assert error.error_type is ErrorCode.NETWORK_CONNECTION
    assert await find_withheld(harness.storage.records, VIDEO.platform, VIDEO.id) is not None


async def test_stored_files_of_a_withheld_post_are_served(harness: DownloadHarness) -> None:
    await harness.run(selected())
    await withhold(harness.storage.records, VIDEO.platform, VIDEO.id, "removed")
    result = outcome(await harness.run(selected()))
    assert isinstance(result, Completed)
    assert result.files[0].reused
