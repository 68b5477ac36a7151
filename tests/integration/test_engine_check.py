"""`clipmill engine check` as a process of its own, against the stand-in; there is no Kafka."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from agents.engine.proof_of_work import IS_NATIVE
from tests.standin import Standin, short_code, video_id
from tests.standin.socks import PASSWORD, USER

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What the entry point `clipmill engine` does.
PROGRAM = "from agents.engine_check.cli import engine; engine(prog_name='clipmill engine')"
SITES = {
    "hitrecord": {
        "hosts": ["hitrecord.org"],
        "extractors": ["HitRecord"],
        "media_hosts": [".hitrecord.org"],
    }
}
GOOD = f"https://www.tiktok.com/@a/video/{video_id()}"
RECORD = f"https://hitrecord.org/records/{video_id()}"
DELETED = f"https://www.tiktok.com/@a/video/{video_id('deleted')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standin]:
    async with Standin(tmp_path_factory.mktemp("standin"), egresses=("a", "b")) as standin:
        yield standin


class Check:
    """How a check ended: status, output and complaints."""

    def __init__(self, status: int, output: bytes, complaints: bytes) -> None:
        self.status = status
        self.output = output.decode()
        self.complaints = complaints.decode()

    @property
    def report(self) -> Any:
        return json.loads(self.output)


@pytest.fixture
def check(standin: Standin, tmp_path: Path) -> Any:
    async def run(*arguments: str, **variables: str) -> Check:
        settings = {
            "CLIPMILL_DATA_DIR": str(tmp_path),
            "CLIPMILL_EGRESS__PROXY": standin.proxy_url,
            "CLIPMILL_EGRESS__CA_FILE": str(standin.ca_file),
            "CLIPMILL_PLATFORMS": json.dumps(SITES),
            **variables,
        }
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "check", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **{name: value for name, value in settings.items() if value}},
        )
        async with asyncio.timeout(60):
            output, complaints = await child.communicate()
        return Check(child.returncode or 0, output, complaints)

    return run


async def test_all_is_well(check: Any) -> None:
    short = f"https://vm.tiktok.com/{short_code(video_id(), 'video')}/"
    found = await check(GOOD, RECORD, short, "--json")
    assert found.status == 0, found.complaints
    report = found.report
    assert report["well"] is True
    assert report["impersonation"] is True
    assert report["native_proof_of_work"] is IS_NATIVE
    assert report["packages_dir"] is None
    assert set(report["versions"]) == {"yt_dlp", "curl_cffi"}
    assert [each["url"] for each in report["verdicts"]] == [GOOD, RECORD, short]
    assert all(each["error"] is None for each in report["verdicts"])
    assert report["verdicts"][1]["formats"] == 1
    assert report["verdicts"][0]["formats"] >= 6


async def test_one_that_fails_is_told_and_decides_the_status(check: Any) -> None:
    found = await check("--json", CLIPMILL_ENGINE__CANARIES=json.dumps([GOOD, DELETED, "nonsense"]))
    assert found.status == 1
    verdicts = found.report["verdicts"]
    assert [each["error"] for each in verdicts] == [None, "content.not_found", "request.invalid"]
    assert "deleted" in verdicts[1]["reason"]


async def test_people_get_a_table(check: Any) -> None:
    found = await check(GOOD, DELETED)
    assert found.status == 1
    for word in ("yt-dlp ", "impersonation available", "the installation", "ok", "not_found"):
        assert word in found.output
    assert "challenges are solved by" in found.output
    assert found.complaints == ""


async def test_every_way_out_is_tried(check: Any, standin: Standin) -> None:
    ways = json.dumps(standin.egress_urls)
    standin.switches.set("page.403", egress="b")
    found = await check(GOOD, "--json", CLIPMILL_EGRESS__PROXIES=ways, CLIPMILL_EGRESS__PROXY="")
    standin.reset()
    verdicts = {each["egress"]: each["error"] for each in found.report["verdicts"]}
    assert verdicts == {"a": None, "b": "rate_limit.ip_block"}


async def test_ways_out_may_be_socks(check: Any, standin: Standin) -> None:
    right = standin.socks_url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    ways = {"right": right, "wrong": standin.socks_url.replace("://", "://anna:hunter2@")}
    short = f"https://vm.tiktok.com/{short_code(video_id(), 'video')}/"
    variables = {"CLIPMILL_EGRESS__PROXIES": json.dumps(ways), "CLIPMILL_EGRESS__PROXY": ""}
    found = await check(GOOD, short, "--json", **variables)
    assert [each["egress"] for each in found.report["verdicts"]] == ["right", "wrong"] * 2
    assert [each["error"] for each in found.report["verdicts"]] == [None, "system.config"] * 2
    for each in found.report["verdicts"][1::2]:
        assert "correct user and password" in each["reason"]
    assert "hunter2" not in found.output + found.complaints
    assert standin.counters.refused_hosts == {}


async def test_nothing_to_read_is_a_wrong_use(check: Any) -> None:
    found = await check()
    assert found.status == 2
    assert "engine.canaries" in found.complaints


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"CLIPMILL_PLATFORMS": json.dumps({"x": SITES["hitrecord"] | {"extractors": ["Hit"]}})},
            "platforms.x.extractors: yt-dlp has no extractor named Hit",
        ),
        (
            {
                "CLIPMILL_PLATFORMS": json.dumps(
                    {"x": SITES["hitrecord"] | {"hosts": ["www.tiktok.com"]}}
                )
            },
            "Two platforms claim the host www.tiktok.com",
        ),
        ({"CLIPMILL_EGRESS__CA_FILE": "missing.pem"}, "missing.pem"),
    ],
    ids=["extractor", "host", "roots"],
)
async def test_a_bad_setting_is_one_readable_line(
    check: Any, variables: dict[str, str], said: str
) -> None:
    found = await check(GOOD, **variables)
    assert found.status == 1
    assert said in found.complaints
    assert found.complaints.startswith("Error: ")
    assert "Traceback" not in found.complaints


@pytest.mark.parametrize("form", ["--json", "--"], ids=["json", "table"])
async def test_a_report_holds_no_secrets_of_urls(form: str, check: Any) -> None:
    url = f"https://u:s3cret@www.tiktok.com/@a/video/{video_id()}?token=s3cret"
    found = await check(form, url, GOOD)
    assert "s3cret" not in found.output + found.complaints
    assert "tiktok.com" in found.output
