"""Posts that need a login: which account is used, which recoveries run, what is reported."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from streams.topics import TOPICS, changelog_topic
from tests.acceptance.client import Message, PipelineClient, get, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id
from tests.standin.sessions import (
    ENDED,
    LIMITED,
    SESSION_COOKIE,
    living_session,
    session_cookies_file,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = (LIMITED, ENDED, living_session()[:24])
"""Prefixes of all session values."""


LINE = ".tiktok.com\tTRUE\t/\tTRUE\t2000000000\tsessionid\tVALUE\n"
UNUSUAL_FILES = {
    "other site": LINE.replace("tiktok", "youtube"),
    "eight columns": LINE.replace("\n", "\t40\n"),
    "an empty value that lost its tab": LINE + ".tiktok.com\tTRUE\t/\tTRUE\t2000000000\tfoo\n",
    "leading spaces": f"   {LINE}",
    "spaces for tabs": LINE.replace("\t", "    "),
    "an odd line": f"Cookie: a=b; c=d\n{LINE}",
    "NULs and lines of Windows": f"\0\0{LINE}".replace("\n", "\r\n") + "\0" * 512,
    "JSON": '[{"domain": ".tiktok.com", "expirationDate": 2000000000.5, "hostOnly": false,'
    ' "name": "sessionid", "path": "/", "secure": true, "value": "VALUE"}]',
}
"""Cookie files in forms reported for browser add-ons and editors."""


def write_cookie_file(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.txt"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of cookie files, empty at first."""
    return tmp_path_factory.mktemp("accounts")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(
    tmp_path_factory: pytest.TempPathFactory, accounts: Path
) -> AsyncIterator[PipelineProcess]:
    """A pipeline with a folder of cookie files as accounts, and a SOCKS5 proxy as egress."""
    login = {"CLIPMILL_AUTH__COOKIE_FILES": f'{{"tiktok": "{accounts}"}}'}
    async with PipelineProcess(
        tmp_path_factory.mktemp("pipeline"), proxy="socks", **login
    ) as pipeline:
        await pipeline.start_worker("all")
        yield pipeline


def _log(pipeline: PipelineProcess) -> str:
    return "".join(path.read_text() for path in pipeline.directory.glob("worker-*.log"))


def recovery_steps(outcome: Message) -> list[tuple[str, str]]:
    return [(each["strategy"], each["code"]) for each in outcome["recovery"]]


async def test_cookie_file_of_another_site_is_no_account(
    client: PipelineClient, pipeline: PipelineProcess, accounts: Path
) -> None:
    path = write_cookie_file(accounts, "other-site", UNUSUAL_FILES["other site"])
    outcome = await client.request(page(video_id("members", serial=30)), action="info")
    assert outcome["error"]["error_type"] == "content.login_required"
    assert str(accounts) not in str(outcome)
    assert f"{path} is not an account for tiktok" in _log(pipeline)
    path.unlink()


async def test_cookie_file_without_cookies_is_reported_without_its_path(
    client: PipelineClient, pipeline: PipelineProcess, accounts: Path
) -> None:
    path = write_cookie_file(accounts, "header", f"sessionid={living_session(2)}")
    outcome = await client.request(page(video_id("members", serial=31)), action="info")
    assert outcome["status"] == "failed"
    assert "header: line 1 has 1 fields" in str(outcome)
    assert str(accounts) not in str(outcome)
    assert f"{path} cannot be used: line 1 has 1 fields" in _log(pipeline)
    path.unlink()


@pytest.mark.parametrize("name", [name for name in UNUSUAL_FILES if name != "other site"])
async def test_cookie_file_variants_of_tools_are_read(
    client: PipelineClient, accounts: Path, name: str
) -> None:
    number = 40 + list(UNUSUAL_FILES).index(name)
    # A session of its own: each expires after three pages.
    path = write_cookie_file(
        accounts, "odd", UNUSUAL_FILES[name].replace("VALUE", living_session(number))
    )
    outcome = await client.request(page(video_id("members", serial=number)), action="info")
    assert (outcome["status"], len(recovery_steps(outcome))) == ("completed", 1)
    path.unlink()


async def test_login_required_without_an_account_names_the_setting(client: PipelineClient) -> None:
    outcome = await client.request(page(video_id("members", serial=1)), action="info")
    assert outcome["status"] == "failed"
    assert outcome["error"]["error_type"] == "content.login_required"
    assert any(
        "CLIPMILL_AUTH__COOKIE_FILES" in each for each in outcome["error"]["suggested_actions"]
    )


async def test_other_account_is_used_when_one_is_rate_limited(
    client: PipelineClient, accounts: Path
) -> None:
    """The folder is read again: the worker was started without any account."""
    session_cookies_file(accounts / "a-limited.txt", LIMITED)
    session_cookies_file(accounts / "b-living.txt", living_session())
    outcome = await client.request(page(video_id("members", serial=2)))
    assert outcome["status"] == "completed"
    assert recovery_steps(outcome) == [
        ("authenticate", "content.login_required"),
        ("other_account", "rate_limit.account"),
    ]
    assert outcome["recovery"][1]["changed"] == {"account": "a-limited -> another"}
    assert outcome["files"][0]["bytes"] > 0


async def test_rate_limited_account_is_not_used(client: PipelineClient) -> None:
    outcome = await client.request(page(video_id("adults", serial=3)), action="info")
    assert (outcome["status"], len(recovery_steps(outcome))) == ("completed", 1)


async def test_renewed_session_cookie_is_used_and_saved(
    client: PipelineClient, accounts: Path
) -> None:
    """Every page renews the cookie; an old value would expire after three pages."""
    for serial in range(10, 16):
        outcome = await client.request(page(video_id("members", serial=serial)), action="info")
        assert (outcome["status"], len(recovery_steps(outcome))) == ("completed", 1)
    await _wait_until_renewed(client, accounts / "b-living.txt")


async def _wait_until_renewed(client: PipelineClient, path: Path) -> None:
    """Wait until the file holds a renewed session value."""
    for _ in range(100):
        if _session_value(path) != living_session():
            break
        await client.pipeline.read_results(0.1)
    assert _session_value(path).startswith(living_session()[:24])
    assert _session_value(path) != living_session()
    assert _mode_of(path) == 0o600


def _session_value(path: Path) -> str:
    (value,) = re.findall(rf"{SESSION_COOKIE}\t(\w+)", path.read_text())
    return str(value)


def _mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_ended_session_is_replaced_by_another_account(
    client: PipelineClient, accounts: Path
) -> None:
    session_cookies_file(accounts / "a-limited.txt", ENDED)
    outcome = await client.request(page(video_id("members", serial=4)), action="info")
    assert outcome["status"] == "completed"
    assert recovery_steps(outcome)[0] == ("authenticate", "content.login_required")
    assert {strategy for strategy, _ in recovery_steps(outcome)[1:]} <= {"other_account"}


async def test_accounts_are_exported_as_metrics(pipeline: PipelineProcess) -> None:
    healthy = 'clipmill_account_healthy{account="b-living",platform="tiktok"} 1'
    async with asyncio.timeout(10):  # the gauges are updated every 2 s
        while healthy not in (text := await get(f"{pipeline.workers[-1].ready['http']}/metrics")):
            await pipeline.read_results(0.2)
    assert re.search(r'account_uses_total{account="a-limited",outcome="limited",.*} 1', text)
    assert re.search(r'account_uses_total{account="b-living",outcome="success",.*} [89]', text)


async def test_session_values_appear_in_no_log_record_or_metric(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    """Runs last: checks the logs of workers, all topics and tables, and the metrics."""
    text = await get(f"{pipeline.workers[-1].ready['http']}/metrics")
    logs = [path.read_text(errors="replace") for path in pipeline.directory.glob("*.log")]
    records = await client.records(*TOPICS, changelog_topic("extraction", "video-info"))
    assert len(records) > 50
    published = b"".join(
        (record.value or b"") + repr(record.headers).encode() for record in records
    )
    for secret in SECRETS:
        assert secret.encode() not in published
        assert not [log for log in logs if secret in log]
        assert secret not in text
