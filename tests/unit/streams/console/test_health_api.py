from pathlib import Path

from streams.cluster.authorization import MissingAclError
from tests.unit.streams.console.consoles import running_console
from tests.unit.streams.console.unhealthy import unhealthy_console


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
    assert (found[0]["error"], found[0]["platform"]) == ("network.timeout", "tiktok")
    assert (len(found[0]["hours"]), found[0]["share"]) == (24, 30 / 36)
