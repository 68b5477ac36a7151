"""`clipmill engine check` as a process, against the stand-in and without Kafka."""

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

from agents.engine.javascript_support import javascript_support
from agents.engine.proof_of_work import IS_NATIVE
from tests.standin import Standin, short_code, video_id
from tests.standin.socks import PASSWORD, USER

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The code of the entry point `clipmill engine`.
PROGRAM = "from agents.engine_check import engine; engine(prog_name='clipmill engine')"
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


class CheckResult:
    """Exit status, stdout and stderr of a check."""

    def __init__(self, status: int, output: bytes, errors: bytes) -> None:
        self.status = status
        self.output = output.decode()
        self.errors = errors.decode()

    @property
    def report(self) -> Any:
        return json.loads(self.output)


@pytest.fixture
def check(standin: Standin, tmp_path: Path) -> Any:
    async def run(*arguments: str, **variables: str) -> CheckResult:
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
            output, errors = await child.communicate()
        return CheckResult(child.returncode or 0, output, errors)

    return run


async def test_check_passes_when_all_canaries_succeed(check: Any) -> None:
    short = f"https://vm.tiktok.com/{short_code(video_id(), 'video')}/"
    found = await check(GOOD, RECORD, short, "--json")
    assert found.status == 0, found.errors
    report = found.report
    assert report["healthy"] is True
    assert report["impersonation"] is True
    assert report["native_proof_of_work"] is IS_NATIVE
    assert report["packages_dir"] is None
    assert set(report["versions"]) == {"yt_dlp", "curl_cffi"}
    assert [each["url"] for each in report["results"]] == [GOOD, RECORD, short]
    assert all(each["error"] is None for each in report["results"])
    assert report["results"][1]["formats"] == 1
    assert report["results"][0]["formats"] >= 6


async def test_missing_javascript_is_named_with_its_command(check: Any) -> None:
    found = await check(GOOD, CLIPMILL_ENGINE__JAVASCRIPT="false")
    assert "JavaScript is not run: the setting engine.javascript is off" in found.output
    assert "YouTube is read without logins" in found.output


async def test_failing_canary_is_reported_and_sets_the_exit_status(check: Any) -> None:
    found = await check("--json", CLIPMILL_ENGINE__CANARIES=json.dumps([GOOD, DELETED, "nonsense"]))
    assert found.status == 1
    results = found.report["results"]
    assert [each["error"] for each in results] == [None, "content.not_found", "request.invalid"]
    assert "deleted" in results[1]["reason"]


async def test_without_json_the_report_is_a_table(check: Any) -> None:
    found = await check(GOOD, DELETED)
    assert found.status == 1
    for word in ("yt-dlp ", "impersonation available", "the installation", "ok", "not_found"):
        assert word in found.output
    assert "proof of work is computed by" in found.output
    assert f"JavaScript is {javascript_support().summary}" in found.output.replace("\n", " ")
    assert found.errors == ""


async def test_every_egress_is_checked(check: Any, standin: Standin) -> None:
    proxies = json.dumps(standin.egress_urls)
    standin.switches.set("page.403", egress="b")
    found = await check(GOOD, "--json", CLIPMILL_EGRESS__PROXIES=proxies, CLIPMILL_EGRESS__PROXY="")
    standin.reset()
    results = {each["egress"]: each["error"] for each in found.report["results"]}
    assert results == {"a": None, "b": "rate_limit.ip_block"}


async def test_socks_egresses_are_checked(check: Any, standin: Standin) -> None:
    right = standin.socks_url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    proxies = {"right": right, "wrong": standin.socks_url.replace("://", "://anna:hunter2@")}
    short = f"https://vm.tiktok.com/{short_code(video_id(), 'video')}/"
    variables = {"CLIPMILL_EGRESS__PROXIES": json.dumps(proxies), "CLIPMILL_EGRESS__PROXY": ""}
    found = await check(GOOD, short, "--json", **variables)
    assert [each["egress"] for each in found.report["results"]] == ["right", "wrong"] * 2
    assert [each["error"] for each in found.report["results"]] == [None, "system.config"] * 2
    for each in found.report["results"][1::2]:
        assert "correct user and password" in each["reason"]
    assert "hunter2" not in found.output + found.errors
    assert standin.counters.refused_hosts == {}


async def test_check_without_urls_is_a_usage_error(check: Any) -> None:
    found = await check()
    assert found.status == 2
    assert "engine.canaries" in found.errors


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {
                "CLIPMILL_PLATFORMS": json.dumps(
                    {"site": SITES["hitrecord"] | {"extractors": ["Hit"]}}
                )
            },
            "platforms.site.extractors: yt-dlp has no extractor named Hit",
        ),
        (
            {
                "CLIPMILL_PLATFORMS": json.dumps(
                    {"site": SITES["hitrecord"] | {"hosts": ["www.tiktok.com"]}}
                )
            },
            "Two platforms claim the host www.tiktok.com",
        ),
        ({"CLIPMILL_EGRESS__CA_FILE": "missing.pem"}, "missing.pem"),
    ],
    ids=["extractor", "host", "roots"],
)
async def test_invalid_setting_is_one_readable_line(
    check: Any, variables: dict[str, str], message: str
) -> None:
    found = await check(GOOD, **variables)
    assert found.status == 1
    assert message in found.errors
    assert found.errors.startswith("Error: ")
    assert "Traceback" not in found.errors


@pytest.mark.parametrize("form", ["--json", "--"], ids=["json", "table"])
async def test_report_contains_no_secrets_of_urls(form: str, check: Any) -> None:
    url = f"https://u:s3cret@www.tiktok.com/@a/video/{video_id()}?token=s3cret"
    found = await check(form, url, GOOD)
    assert "s3cret" not in found.output + found.errors
    assert "tiktok.com" in found.output
