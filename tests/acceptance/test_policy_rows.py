"""Each row of the policy table: from a real failure of the stand-in to code, wait and strategy.

What cannot come from a platform has tests of its own: a full disk and a storage that is away
(`test_storage_away`), an engine that dies (`test_engine_killer`), a set-up that is wrong
(`test_dead_letters`), bad requests (`test_hostile`). Waits are those of the product, not shortened.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from agents.access.breaker_client import by_preference
from streams.topics import AUDIT
from tests.acceptance.desk import Desk, Message, page, planned_wait
from tests.acceptance.outage import reading_results
from tests.house import House
from tests.standin import short_code, video_id
from tests.standin.sessions import session_cookies_file

pytestmark = pytest.mark.asyncio(loop_scope="module")

JITTER = 0.2
"""Share by which the product lets waits grow."""

SETTINGS = {
    # Some thirty failures are no outage here.
    "CLIPMILL_BREAKER__MINIMUM_CALLS": "100000",
    "CLIPMILL_BREAKER__SUSPICIOUS_VIDEOS": "100000",
    "CLIPMILL_BREAKER__RETRY_FLOOR": "100000",
    "CLIPMILL_ENGINE__REQUEST_TIMEOUT_SECONDS": "2",
    "CLIPMILL_DOWNLOAD__STALL_TIMEOUT_SECONDS": "3",
}


@dataclass(frozen=True)
class Row:
    """A failure and what must follow.

    Attributes:
        code: what it is taken for.
        scenario: how it is brought about; ``times`` 0 is for ever.
        link: kind of the short link that is asked for, of the page without it.
        steps: (strategy, wait in seconds) of each thing done about it, in order.
        end: status of the outcome; None while the last step waits for longer than a test.
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


AT_ONCE = 0.0

ROWS = (
    Row("network.timeout", "page.hang", (("backoff", 5),), "completed", times=1),
    Row("network.connection", "page.reset", (("backoff", 5),), "completed", times=1),
    Row("network.connection", "page.truncated", (("backoff", 5),), "completed", times=1),
    Row("network.server", "page.503", (("backoff", 5),), "completed", times=1),
    Row("network.server", "page.500", (("backoff", 5), ("backoff", 30)), None),
    Row(
        "rate_limit.api",
        "page.429",
        (("other_egress", AT_ONCE), ("backoff", 5), ("backoff", 30)),
        None,
    ),
    Row("rate_limit.api", "page.429", (("other_egress", AT_ONCE),), "completed", times=1),
    Row("rate_limit.ip_block", "blocked", (("other_egress", AT_ONCE), ("backoff", 600)), None),
    Row("rate_limit.ip_block", "captcha", (("other_egress", AT_ONCE), ("backoff", 600)), None),
    Row("rate_limit.ip_block", "challenge.again", (("other_egress", AT_ONCE),), "completed", 2),
    Row("rate_limit.ip_block", "page.403", (("other_egress", AT_ONCE),), "completed", times=1),
    Row(
        "rate_limit.ip_block",
        "ok",
        (("other_egress", AT_ONCE), ("backoff", 600)),
        None,
        link="page",
    ),
    Row(
        "rate_limit.ip_block",
        "ok",
        (("other_egress", AT_ONCE), ("backoff", 600)),
        None,
        link="nowhere",
    ),
    Row("rate_limit.ip_block", "ok", (("other_egress", AT_ONCE),), "completed", link="way"),
    Row("content.not_found", "deleted", (), "failed"),
    Row("content.not_found", "page.404", (), "failed"),
    Row("content.not_found", "missing", (), "failed"),
    Row("content.not_found", "notfound", (), "failed"),
    Row("content.private", "private", (("authenticate", AT_ONCE),), "failed"),
    Row("content.private", "privateaccount", (("authenticate", AT_ONCE),), "failed"),
    Row("content.private", "selfsee", (("authenticate", AT_ONCE),), "failed"),
    Row("content.private", "friends", (("authenticate", AT_ONCE),), "completed"),
    Row("content.unsupported", "page.huge", (), "failed"),
    Row("content.geo_blocked", "region", (("other_egress", AT_ONCE),), "failed"),
    Row("content.geo_blocked", "page.451", (("other_egress", AT_ONCE),), "completed", times=1),
    Row("content.login_required", "login", (("authenticate", AT_ONCE),), "failed"),
    Row("content.login_required", "members", (("authenticate", AT_ONCE),), "completed"),
    Row("content.age_restricted", "adults", (("authenticate", AT_ONCE),), "completed"),
    Row("content.no_formats", "noformats", (), "failed", action="download"),
    Row(
        "content.no_formats",
        "silent",
        (("other_format", AT_ONCE),),
        "completed",
        action="download",
        options={"codec": "h264"},
    ),
    Row(
        "content.link_expired",
        "media.expired",
        (("fresh_extraction", AT_ONCE),),
        "completed",
        action="download",
    ),
    Row(
        "content.link_expired",
        # The page has two hosts for every format: two ids, and both are broken.
        "media.broken",
        (("fresh_extraction", AT_ONCE), ("other_format", AT_ONCE), ("other_format", AT_ONCE)),
        "completed",
        action="download",
    ),
    Row(
        "content.damaged",
        "media.html",
        (("fresh_extraction", AT_ONCE),),
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
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house with two ways out and a session."""
    directory = tmp_path_factory.mktemp("house")
    cookies = session_cookies_file(directory / "cookies.txt")
    login = {"CLIPMILL_AUTH__COOKIE_FILES": f'{{"tiktok": "{cookies}"}}'}
    async with House(directory, egresses=("a", "b"), **SETTINGS, **login) as house:
        await house.start_worker("all")
        async with reading_results(house):
            await _publish(house)
            yield house


async def _publish(house: House) -> None:
    """Ask for all of them at once: most of what happens is waiting."""
    for serial, row in enumerate(ROWS):
        wanted = {"action": row.action, "options": row.options}
        await house.publish({"id": row.name, "url": row.url(serial), **wanted})


def _short_link(video: str, kind: str) -> str:
    """Return the short link of a video that is first asked for by the way out ``a``."""
    codes = (short_code(str(int(video) + number), kind) for number in range(100))
    links = (f"https://vm.tiktok.com/{code}/" for code in codes)
    return next(link for link in links if by_preference(("a", "b"), (), link)[0] == "a")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_failure_leads_to_what_the_policy_says(desk: Desk, row: Row) -> None:
    if row.end is not None:
        outcome = await desk.outcome(row.name, 60)
        assert outcome["status"] == row.end
        _check_outcome(row, outcome)
    steps = await _steps(desk, row)
    assert [step["detail"]["strategy"] for step in steps] == [name for name, _ in row.steps]
    assert {step["detail"]["code"] for step in steps} <= {row.code}
    for step, (_, seconds) in zip(steps, row.steps, strict=True):
        assert seconds - 0.1 <= planned_wait(step) <= seconds * (1 + JITTER) + 0.1


def _check_outcome(row: Row, outcome: Message) -> None:
    if row.end == "failed":
        assert outcome["error"]["error_type"] == row.code
    told = [(each["strategy"], each["code"]) for each in outcome["recovery"]]
    wanted = [(strategy, row.code) for strategy, _ in row.steps]
    given_up = [("give_up", row.code)] if row.end == "failed" else []
    assert told == [*wanted, *given_up]
    changed = [each["strategy"] for each in outcome["recovery"] if each["changed"]]
    assert changed == [strategy for strategy, _ in row.steps if strategy != "backoff"]


async def _steps(desk: Desk, row: Row) -> list[Message]:
    """Return what was done about the failures of a row, once all of it was."""
    async with asyncio.timeout(60):
        while True:
            records = await desk.messages(AUDIT, request_id=row.name, step="recovery")
            if len(records) >= len(row.steps):
                return sorted(records, key=lambda record: str(record["at"]))
            await asyncio.sleep(0.5)


async def test_retry_after_is_kept_to_the_second(desk: Desk) -> None:
    """Both ways out are asked to wait for seven seconds; the second one is waited for."""
    video = video_id("page.429after", param=7, times=2, serial=900)
    outcome = await desk.ask(page(video), id="retry-after", action="info", seconds=30)
    assert (outcome["status"], outcome["attempts"]) == ("completed", 3)
    assert [each["strategy"] for each in outcome["recovery"]] == ["other_egress", "backoff"]
    _, backoff = await desk.messages(AUDIT, request_id="retry-after", step="recovery")
    assert planned_wait(backoff) == pytest.approx(7, abs=0.1)
    _, second, third = desk.asked_at(video)
    assert third - second >= planned_wait(backoff)
