"""The overview, breakers and failures: their pages, and the API of the health."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from schemas.commands import Command, OpenBreaker, ResetBreaker, ResumeStage
from streams.cluster.authorization import MissingAclError
from streams.console.access import ANONYMOUS
from tests.unit.streams.console.consoles import HOSTILE, running_console
from tests.unit.streams.console.test_pages import OWN, Links
from tests.unit.streams.console.unhealthy import failed, unhealthy_console

NAME = "tiktok:extract:direct"

PAGES = ("overview", "breakers", "failures")


async def test_problem_has_its_remedy_beside_it(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        found = Links(await (await client.get("/overview")).text())
    assert "The stage download has no worker; 1,200 records wait for it." in found.text
    assert "clipmill worker download" in found.text
    assert {
        "resume-stage?name=selection",
        "reset-breaker?name=tiktok%3Aextract%3Adirect",
        "new-job?command=retry&error=network.timeout&platform=tiktok",
        "replay?state=waiting&code=internal.bug",
        "codes#network.timeout",
    } <= set(found.targets)


async def test_every_link_of_a_problem_leads_to_a_page(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        for page in PAGES:
            for target in Links(await (await client.get(f"/{page}")).text()).targets:
                assert (await client.get(f"/{target}")).status == 200, target


async def test_overview_of_a_healthy_service_says_so(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        text = Links(await (await client.get("/overview")).text()).text
    assert "Nothing." in text
    assert "running" in text


async def test_overview_shows_what_it_may_not_see(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        client.lag.stages = MissingAclError("DESCRIBE on group clipmill.download")
        client.dead_letters.index.clear()
        text = Links(await (await client.get("/overview")).text()).text
    assert "The lag of the stages is unknown: DESCRIBE on group clipmill.download" in text
    assert "The dead letters are unknown:" in text


@pytest.mark.parametrize("page", PAGES)
async def test_text_of_others_is_shown_as_text(tmp_path: Path, page: str) -> None:
    async with unhealthy_console(tmp_path) as client:
        found = Links(await (await client.get(f"/{page}")).text())
    assert found.scripts == ["static/theme.js", "static/console.js"]
    assert HOSTILE[:-1] in found.text


@pytest.mark.parametrize("page", PAGES)
async def test_read_only_page_offers_no_change(tmp_path: Path, page: str) -> None:
    async with unhealthy_console(tmp_path, read_only=True) as client:
        found = Links(await (await client.get(f"/{page}")).text())
    changes = ("open-breaker", "reset-breaker", "resume-stage", "new-job", "replay")
    assert not [each for each in found.targets if each.startswith(changes)]


@pytest.mark.parametrize(
    "page",
    [f"open-breaker?name={NAME}", f"reset-breaker?name={NAME}", "resume-stage?name=selection"],
)
async def test_read_only_confirmation_has_no_form(tmp_path: Path, page: str) -> None:
    async with unhealthy_console(tmp_path, read_only=True) as client:
        text = await (await client.get(f"/{page}")).text()
    assert 'method="post"' not in text
    assert "This console is read-only." in text


async def test_opening_a_breaker_is_confirmed_with_the_waiting_requests(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        text = Links(await (await client.get(f"/open-breaker?name={NAME}")).text()).text
    assert "2 undecided requests of tiktok may have to wait" in text
    assert "Open 1 breaker" in text


@pytest.mark.parametrize(
    ("page", "name", "kind", "target"),
    [
        ("open-breaker", NAME, OpenBreaker, "breakers?ordered=yes"),
        ("reset-breaker", NAME, ResetBreaker, "breakers?ordered=yes"),
        ("resume-stage", "selection", ResumeStage, "overview?ordered=yes"),
    ],
)
async def test_confirmed_change_is_published_with_its_author(
    tmp_path: Path, page: str, name: str, kind: type[Command], target: str
) -> None:
    async with unhealthy_console(tmp_path) as client:
        response = await client.post(
            f"/{page}", data={"name": name}, headers=OWN, allow_redirects=False
        )
        (command,) = client.producer.commands
        shown = await (await client.get(f"/{target}")).text()
    assert (response.status, response.headers["Location"]) == (303, target)
    assert isinstance(command, kind)
    assert isinstance(command, OpenBreaker | ResetBreaker | ResumeStage)
    assert command.by == ANONYMOUS
    assert name in str(command)
    assert "The command is published" in shown


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/open-breaker?name=x", 404, "There is no breaker 'x'."),
        ("/reset-breaker", 404, "There is no breaker ''."),
        ("/resume-stage?name=download", 404, "The stage 'download' is not paused."),
    ],
)
async def test_unknown_name_is_an_error_page(
    tmp_path: Path, path: str, status: int, text: str
) -> None:
    async with unhealthy_console(tmp_path) as client:
        response = await client.get(path)
        assert response.status == status
        assert text in Links(await response.text()).text


@pytest.mark.parametrize("page", ["open-breaker", "reset-breaker", "resume-stage"])
async def test_change_of_an_unknown_name_is_rejected(tmp_path: Path, page: str) -> None:
    async with unhealthy_console(tmp_path) as client:
        response = await client.post(f"/{page}", data={"name": "x"}, headers=OWN)
        assert (response.status, client.producer.commands) == (404, [])


async def test_failures_show_trend_share_and_retry(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        page = await (await client.get("/failures")).text()
    found = Links(page)
    assert "83.3" in found.text
    assert "Retry all 30…" in found.text
    assert "./?error=network.timeout&platform=tiktok" in found.targets
    assert not [each for each in found.targets if "retry&error=request" in each]
    assert page.count("<svg") == 4


FAILURES = (
    failed(0, "network.dns", hours=0.5),
    failed(1, "network.dns", hours=0.5, state="expired"),
    failed(2, "network.dns", hours=0.5, state="rejected"),
    replace(failed(3, "network.dns", hours=0.5), video=None),
    replace(failed(4, "content.unsupported", hours=0.5, state="rejected"), video=None),
    failed(5, "content.unsupported", hours=0.5),
    failed(6, "request.expired", hours=0.5, state="expired"),
    failed(7, "request.invalid", hours=0.5, state="rejected"),
)


@pytest.mark.parametrize("page", ["failures", "overview"])
async def test_number_of_a_bulk_retry_is_that_of_its_job(tmp_path: Path, page: str) -> None:
    numbers = {}
    async with running_console(tmp_path, *FAILURES) as client:
        text = await (await client.get(f"/{page}")).text()
        for target, number in re.findall(r'href="(new-job[^"]*)"[^>]*>Retry all ([0-9,]+)', text):
            confirmation = Links(await (await client.get(f"/{unescape(target)}")).text()).text
            assert f"retry applies to {number} of them" in confirmation
            query = dict(parse_qsl(urlsplit(unescape(target)).query))
            numbers[query["error"], query.get("platform")] = int(number)
    expected: dict[tuple[str, str | None], int] = {
        ("network.dns", "tiktok"): 2,
        ("network.dns", None): 3,
    }
    if page == "failures":
        expected |= {("content.unsupported", "tiktok"): 1, ("request.expired", "tiktok"): 1}
    assert numbers == expected


async def test_failures_of_an_empty_history_are_none(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        assert (
            "No request of the history has failed." in await (await client.get("/failures")).text()
        )


async def test_overview_names_what_is_wrong(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        found = await (await client.get("/api/v1/overview")).json()
    problems = found["problems"]
    assert [each["severity"] for each in problems[:3]] == ["critical", "critical", "warning"]
    assert problems[1]["command"] == "clipmill worker download"
    assert found["states"] == {"failed": 35, "rejected": 1, "parked": 1, "extracted": 1}
    assert [each["seconds"] for each in found["results"]] == [300.0, 3_600.0]
    assert found["waiting"]["parked"] == 1
    assert [each["state"] for each in found["breakers"]] == ["forced_open", "open"]
    assert [each["name"] for each in found["rates"]] == ["tiktok:extract:direct"]
    assert found["dead_letters"]["parked"] == 1


async def test_overview_of_a_healthy_service_has_no_problem(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        found = await (await client.get("/api/v1/overview")).json()
    assert (found["problems"], found["states"], found["breakers"]) == ([], {}, [])


async def test_stages_are_listed_with_lag_workers_and_pauses(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        found = await (await client.get("/api/v1/stages")).json()
    stages = {each["name"]: each for each in found["stages"]}
    assert (stages["download"]["lag"], stages["download"]["members"]) == (1_200, 0)
    assert stages["selection"]["pause"]["by"] == "selection"
    assert stages["delay"]["is_delaying"]
    assert len(stages["delay"]["topics"]) == 5
    assert found["problem"] is None


async def test_stages_are_listed_when_an_acl_is_missing(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        client.lag.stages = MissingAclError("DESCRIBE on group clipmill.download")
        found = await (await client.get("/api/v1/stages")).json()
        overview = await (await client.get("/api/v1/overview")).json()
    assert {each["lag"] for each in found["stages"]} == {None}
    assert found["problem"] == "DESCRIBE on group clipmill.download"
    assert "DESCRIBE on group" in overview["problems"][0]["message"]


async def test_failures_are_listed_by_frequency(tmp_path: Path) -> None:
    async with unhealthy_console(tmp_path) as client:
        found = (await (await client.get("/api/v1/failures")).json())["failures"]
    assert [each["count"] for each in found] == [30, 4, 1, 1]
    assert [each["retryable"] for each in found] == [30, 4, 1, 0]
    assert (found[0]["error"], found[0]["platform"]) == ("network.timeout", "tiktok")
    assert (len(found[0]["hours"]), found[0]["share"]) == (24, 30 / 36)
