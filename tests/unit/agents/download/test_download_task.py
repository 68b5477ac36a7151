import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.download.download_task import Budget, DownloadTask, fetch_limits
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from streams.settings import DownloadSettings
from tests.unit.agents.builders import make_job, make_settings, selected

CLAIMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=20)


@given(claims=CLAIMS, limit=st.integers(0, 300))
def test_budget_bounds_the_sum_of_the_latest_accepted_sizes(
    claims: list[tuple[str, int]], limit: int
) -> None:
    budget, sizes = Budget(limit), dict[str, int]()
    for name, size in claims:
        if sum((sizes | {name: size}).values()) > limit:
            with pytest.raises(ClipmillError, match=f"{limit} bytes") as caught:
                budget.claim(name, size)
            assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE
        else:
            sizes[name] = size
            budget.claim(name, size)


@pytest.mark.parametrize(("requested", "limit"), [(None, 500), (100, 100), (900, 500)])
def test_tighter_byte_limit_applies(requested: int | None, limit: int) -> None:
    settings = make_settings(download=DownloadSettings(file_bytes=500))
    job = make_job(options=Options(max_bytes=requested))
    assert fetch_limits(settings, job).max_bytes == limit
    task = DownloadTask.of(selected(options=job.options), settings)
    task.budget.claim("a", limit)
    with pytest.raises(ClipmillError):
        task.budget.claim("b", 1)
