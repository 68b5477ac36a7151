"""Each row of the policy table: from a failure of the stand-in to code, backoff and strategy.

Failures that no platform causes have their own tests: full or failing storage
(`test_storage_away`), engine crashes (`test_engine_killer`), configuration errors
(`test_dead_letters`), invalid requests (`test_hostile`). Backoffs are the product's defaults.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from agents.access.breaker_client import by_preference
from streams.topics import AUDIT
from tests.acceptance.client import Message, PipelineClient, page, planned_wait
from tests.acceptance.outage import reading_results
from tests.pipeline_process import PipelineProcess
from tests.standin import short_code, video_id
from tests.standin.sessions import session_cookies_file

pytestmark = pytest.mark.asyncio(loop_scope="module")

JITTER = 0.2
"""Maximum jitter of a backoff, as a share of it."""

SETTINGS = {
    # Some thirty failures must not open the breaker.
    "CLIPMILL_BREAKER__MINIMUM_CALLS": "100000",
    "CLIPMILL_BREAKER__SUSPICIOUS_VIDEOS": "100000",
    "CLIPMILL_BREAKER__RETRY_FLOOR": "100000",
    "CLIPMILL_ENGINE__REQUEST_TIMEOUT_SECONDS": "2",
    "CLIPMILL_DOWNLOAD__STALL_TIMEOUT_SECONDS": "3",
}


@dataclass(frozen=True)
class Row:
    """A failure and the expected recovery.

    Attributes:
        code: its error code.
        scenario: the stand-in's scenario that causes it; ``times`` 0 is permanent.
        link: kind of the requested short link; empty for the page itself.
        steps: (strategy, backoff in seconds) of each recovery, in order.
        end: status of the outcome; None when the last backoff outlasts the test.
    """

    code: str
    scenario: str
    steps: tuple[tuple[str, float], ...]
    end: str | None
    times: int = 0
    param: int = 0
    action: str = "info"
    options: dict[str, Any] = field(default_factory=dict)
    link: str = ""

    @property
    def name(self) -> str:
        return f"{self.link or self.scenario}-{self.times}-{len(self.steps)}"

    def url(self, serial: int) -> str:
        video = video_id(self.scenario, param=self.param, times=self.times, serial=serial)
        return _short_link(video, self.link) if self.link else page(video)


IMMEDIATELY = 0.0

ROWS = (
    Row("network.timeout", "page.hang", (("backoff", 5),), "completed", times=1),
    Row("network.connection", "page.reset", (("backoff", 5),), "completed", times=1),
    Row("network.connection", "page.truncated", (("backoff", 5),), "completed", times=1),
    Row("network.server", "page.503", (("backoff", 5),), "completed", times=1),
    Row("network.server", "page.500", (("backoff", 5), ("backoff", 30)), None),
    Row(
        "rate_limit.api",
        "page.429",
        (("other_egress", IMMEDIATELY), ("backoff", 5), ("backoff", 30)),
        None,
    ),
    Row("rate_limit.api", "page.429", (("other_egress", IMMEDIATELY),), "completed", times=1),
    Row("rate_limit.ip_block", "blocked", (("other_egress", IMMEDIATELY), ("backoff", 600)), None),
    Row("rate_limit.ip_block", "captcha", (("other_egress", IMMEDIATELY), ("backoff", 600)), None),
    Row("rate_limit.ip_block", "challenge.again", (("other_egress", IMMEDIATELY),), "completed", 2),
    Row("rate_limit.ip_block", "page.403", (("other_egress", IMMEDIATELY),), "completed", times=1),
    Row(
        "rate_limit.ip_block",
        "ok",
        (("other_egress", IMMEDIATELY), ("backoff", 600)),
        None,
        link="page",
    ),
    Row(
        "rate_limit.ip_block",
        "ok",
        (("other_egress", IMMEDIATELY), ("backoff", 600)),
        None,
        link="nowhere",
    ),
    Row("rate_limit.ip_block", "ok", (("other_egress", IMMEDIATELY),), "completed", link="way"),
    Row("content.not_found", "deleted", (), "failed"),
    Row("content.not_found", "page.404", (), "failed"),
    Row("content.not_found", "missing", (), "failed"),
    Row("content.not_found", "notfound", (), "failed"),
    Row("content.private", "private", (("authenticate", IMMEDIATELY),), "failed"),
    Row("content.private", "privateaccount", (("authenticate", IMMEDIATELY),), "failed"),
    Row("content.private", "selfsee", (("authenticate", IMMEDIATELY),), "failed"),
    Row("content.private", "friends", (("authenticate", IMMEDIATELY),), "completed"),
    Row("content.unsupported", "page.huge", (), "failed"),
    Row("content.geo_blocked", "region", (("other_egress", IMMEDIATELY),), "failed"),
    Row("content.geo_blocked", "page.451", (("other_egress", IMMEDIATELY),), "completed", times=1),
    Row("content.login_required", "login", (("authenticate", IMMEDIATELY),), "failed"),
    Row("content.login_required", "members", (("authenticate", IMMEDIATELY),), "completed"),
    Row("content.age_restricted", "adults", (("authenticate", IMMEDIATELY),), "completed"),
    Row("content.no_formats", "noformats", (), "failed", action="download"),
    Row(
        "content.no_formats",
        "silent",
        (("other_format", IMMEDIATELY),),
        "completed",
        action="download",
        options={"codec": "h264"},
    ),
    Row(
        "content.link_expired",
        "media.expired",
        (("fresh_extraction", IMMEDIATELY),),
        "completed",
        action="download",
    ),
    Row(
        "content.link_expired",
        # The page has two hosts for every format: two ids, and both are broken.
        "media.broken",
        (
            ("fresh_extraction", IMMEDIATELY),
            ("other_format", IMMEDIATELY),
            ("other_format", IMMEDIATELY),
        ),
        "completed",
        action="download",
    ),
    Row(
        "content.damaged",
        "media.html",
        (("fresh_extraction", IMMEDIATELY),),
        "completed",
        times=1,
        action="download",
    ),
    Row("network.server", "media.503", (("backoff", 5),), "completed", times=1, action="download"),
    Row(
        "network.timeout",
        "media.hang",
        (("backoff", 5), ("lower_quality", 30)),
        None,
        action="download",
    ),
    Row("content.no_formats", "shop", (), "failed", action="download"),
    Row("platform.changed", "layout", (("backoff", 600),), None),
    Row("platform.changed", "noitem", (("backoff", 600),), None),
    Row("platform.changed", "stranger", (("backoff", 600),), None),
    Row("platform.changed", "elsewhere", (("backoff", 600),), None),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PipelineProcess]:
    """A pipeline with two egresses and a session."""
    directory = tmp_path_factory.mktemp("pipeline")
    cookies = session_cookies_file(directory / "cookies.txt")
    login = {"CLIPMILL_AUTH__COOKIE_FILES": f'{{"tiktok": "{cookies}"}}'}
    async with PipelineProcess(directory, egresses=("a", "b"), **SETTINGS, **login) as pipeline:
        await pipeline.start_worker("all")
        async with reading_results(pipeline):
            await _publish_all(pipeline)
            yield pipeline


async def _publish_all(pipeline: PipelineProcess) -> None:
    """Publish all requests at once: most of the time is backoff."""
    for serial, row in enumerate(ROWS):
        expected = {"action": row.action, "options": row.options}
        await pipeline.publish({"id": row.name, "url": row.url(serial), **expected})


def _short_link(video: str, kind: str) -> str:
    """Return a short link of a video that is first resolved through egress ``a``."""
    codes = (short_code(str(int(video) + number), kind) for number in range(100))
    links = (f"https://vm.tiktok.com/{code}/" for code in codes)
    return next(link for link in links if by_preference(("a", "b"), (), link)[0] == "a")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_failure_is_recovered_by_its_policy_row(client: PipelineClient, row: Row) -> None:
    if row.end is not None:
        outcome = await client.outcome(row.name, 60)
        assert outcome["status"] == row.end
        _check_outcome(row, outcome)
    steps = await _steps(client, row)
    assert [step["detail"]["strategy"] for step in steps] == [name for name, _ in row.steps]
    assert {step["detail"]["code"] for step in steps} <= {row.code}
    for step, (_, seconds) in zip(steps, row.steps, strict=True):
        assert seconds - 0.1 <= planned_wait(step) <= seconds * (1 + JITTER) + 0.1


def _check_outcome(row: Row, outcome: Message) -> None:
    if row.end == "failed":
        assert outcome["error"]["error_type"] == row.code
    recovery = [(each["strategy"], each["code"]) for each in outcome["recovery"]]
    expected = [(strategy, row.code) for strategy, _ in row.steps]
    give_up = [("give_up", row.code)] if row.end == "failed" else []
    assert recovery == [*expected, *give_up]
    changed = [each["strategy"] for each in outcome["recovery"] if each["changed"]]
    assert changed == [strategy for strategy, _ in row.steps if strategy != "backoff"]


async def _steps(client: PipelineClient, row: Row) -> list[Message]:
    """Wait for all recovery records of a row; return them in order."""
    async with asyncio.timeout(60):
        while True:
            records = await client.messages(AUDIT, request_id=row.name, step="recovery")
            if len(records) >= len(row.steps):
                return sorted(records, key=lambda record: str(record["at"]))
            await asyncio.sleep(0.5)


async def test_backoff_follows_retry_after(client: PipelineClient) -> None:
    """Both egresses get a Retry-After of seven seconds; the backoff follows the second one."""
    video = video_id("page.429after", param=7, times=2, serial=900)
    outcome = await client.request(page(video), id="retry-after", action="info", seconds=30)
    assert (outcome["status"], outcome["attempts"]) == ("completed", 3)
    assert [each["strategy"] for each in outcome["recovery"]] == ["other_egress", "backoff"]
    _, backoff = await client.messages(AUDIT, request_id="retry-after", step="recovery")
    assert planned_wait(backoff) == pytest.approx(7, abs=0.1)
    _, second, third = client.request_times(video)
    assert third - second >= planned_wait(backoff)
