"""Posts that need a login: whose account is used, what is tried, what is told."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from streams.topics import TOPICS, changelog_topic
from tests.acceptance.desk import Desk, Message, get, page
from tests.house import House
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
"""What every value of a session begins with."""


LINE = ".tiktok.com\tTRUE\t/\tTRUE\t2000000000\tsessionid\tVALUE\n"
ODD = {
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
"""Cookie files in forms that were reported of add-ons and editors."""


def odd_file(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.txt"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of cookie files, empty at first."""
    return tmp_path_factory.mktemp("accounts")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, accounts: Path) -> AsyncIterator[House]:
    """A house whose accounts are files in a folder, and whose way out is a SOCKS5 proxy."""
    login = {"CLIPMILL_AUTH__COOKIE_FILES": f'{{"tiktok": "{accounts}"}}'}
    async with House(tmp_path_factory.mktemp("house"), proxy="socks", **login) as house:
        await house.start_worker("all")
        yield house


def _log(house: House) -> str:
    return "".join(path.read_text() for path in house.directory.glob("worker-*.log"))


def tried(outcome: Message) -> list[tuple[str, str]]:
    return [(each["strategy"], each["code"]) for each in outcome["recovery"]]


async def test_a_file_of_another_site_is_no_account(
    desk: Desk, house: House, accounts: Path
) -> None:
    path = odd_file(accounts, "other-site", ODD["other site"])
    outcome = await desk.ask(page(video_id("members", serial=30)), action="info")
    assert outcome["error"]["error_type"] == "content.login_required"
    assert str(accounts) not in str(outcome)
    assert f"{path} is no account for tiktok" in _log(house)
    path.unlink()


async def test_a_file_without_cookies_is_told_without_its_path(
    desk: Desk, house: House, accounts: Path
) -> None:
    path = odd_file(accounts, "header", f"sessionid={living_session(2)}")
    outcome = await desk.ask(page(video_id("members", serial=31)), action="info")
    assert outcome["status"] == "failed"
    assert "header: line 1 has 1 fields" in str(outcome)
    assert str(accounts) not in str(outcome)
    assert f"{path} cannot be used: line 1 has 1 fields" in _log(house)
    path.unlink()


@pytest.mark.parametrize("name", [name for name in ODD if name != "other site"])
async def test_a_file_is_read_as_tools_write_it(desk: Desk, accounts: Path, name: str) -> None:
    number = 40 + list(ODD).index(name)
    # A value of its own: each dies after three pages.
    path = odd_file(accounts, "odd", ODD[name].replace("VALUE", living_session(number)))
    outcome = await desk.ask(page(video_id("members", serial=number)), action="info")
    assert (outcome["status"], len(tried(outcome))) == ("completed", 1)
    path.unlink()


async def test_without_an_account_it_is_told_what_to_do(desk: Desk) -> None:
    outcome = await desk.ask(page(video_id("members", serial=1)), action="info")
    assert outcome["status"] == "failed"
    assert outcome["error"]["error_type"] == "content.login_required"
    assert any(
        "CLIPMILL_AUTH__COOKIE_FILES" in each for each in outcome["error"]["suggested_actions"]
    )


async def test_another_account_takes_the_place_of_a_limited_one(desk: Desk, accounts: Path) -> None:
    """The folder is looked at anew: the worker was started without any account."""
    session_cookies_file(accounts / "a-limited.txt", LIMITED)
    session_cookies_file(accounts / "b-living.txt", living_session())
    outcome = await desk.ask(page(video_id("members", serial=2)))
    assert outcome["status"] == "completed"
    assert tried(outcome) == [
        ("authenticate", "content.login_required"),
        ("other_account", "rate_limit.account"),
    ]
    assert outcome["recovery"][1]["changed"] == {"account": "a-limited -> another"}
    assert outcome["files"][0]["bytes"] > 0


async def test_a_limited_account_rests(desk: Desk) -> None:
    outcome = await desk.ask(page(video_id("adults", serial=3)), action="info")
    assert (outcome["status"], len(tried(outcome))) == ("completed", 1)


async def test_a_session_lives_on(desk: Desk, accounts: Path) -> None:
    """Every page sets it anew, and an old value would die after three pages."""
    for serial in range(10, 16):
        outcome = await desk.ask(page(video_id("members", serial=serial)), action="info")
        assert (outcome["status"], len(tried(outcome))) == ("completed", 1)
    await _kept(desk, accounts / "b-living.txt")


async def _kept(desk: Desk, path: Path) -> None:
    """Return when a value that has been set anew is in the file."""
    for _ in range(100):
        if _value_in(path) != living_session():
            break
        await desk.house.read_results(0.1)
    assert _value_in(path).startswith(living_session()[:24])
    assert _value_in(path) != living_session()
    assert _mode_of(path) == 0o600


def _value_in(path: Path) -> str:
    (value,) = re.findall(rf"{SESSION_COOKIE}\t(\w+)", path.read_text())
    return str(value)


def _mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_a_session_that_has_ended_is_told_and_another_one_used(
    desk: Desk, accounts: Path
) -> None:
    session_cookies_file(accounts / "a-limited.txt", ENDED)
    outcome = await desk.ask(page(video_id("members", serial=4)), action="info")
    assert outcome["status"] == "completed"
    assert tried(outcome)[0] == ("authenticate", "content.login_required")
    assert {strategy for strategy, _ in tried(outcome)[1:]} <= {"other_account"}


async def test_accounts_are_seen_in_the_metrics(house: House) -> None:
    for _ in range(50):
        text = await get(f"{house.workers[-1].ready['http']}/metrics")
        if "clipmill_account_healthy{" in text:
            break
        await house.read_results(0.2)
    assert re.search(r'clipmill_account_healthy{account="b-living",platform="tiktok"} 1', text)
    assert re.search(r'account_uses_total{account="a-limited",outcome="limited",.*} 1', text)
    assert re.search(r'account_uses_total{account="b-living",outcome="success",.*} [89]', text)


async def test_no_secret_leaves_its_file(desk: Desk, house: House) -> None:
    """Last of all: what workers logged, what all topics and tables hold, what metrics show."""
    text = await get(f"{house.workers[-1].ready['http']}/metrics")
    logs = [path.read_text(errors="replace") for path in house.directory.glob("*.log")]
    records = await desk.records(*TOPICS, changelog_topic("extraction", "video-info"))
    assert len(records) > 50
    told = b"".join((record.value or b"") + repr(record.headers).encode() for record in records)
    for secret in SECRETS:
        assert secret.encode() not in told
        assert not [log for log in logs if secret in log]
        assert secret not in text
