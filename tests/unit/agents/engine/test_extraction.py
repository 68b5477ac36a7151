import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest

from agents.engine.extraction import JobRunner, warm_up
from agents.engine.extractors import load_extractor
from agents.engine.failures import is_out_of_memory
from agents.engine.interface import EngineFailure, EngineJob
from agents.engine.protocol import Assignment, JobFailed, JobFinished
from agents.engine.request_bounds import Bounds
from schemas.video import Cookie
from tests.unit.agents.engine.extractors import extractor_path
from tests.unit.agents.engine.web import serving

BOUNDS = Bounds(
    page_bytes_max=1_000,
    request_seconds=5,
    ca_file=Path(certifi.where()),
    permits=lambda *_: True,
)


@pytest.fixture
def extraction() -> Iterator[JobRunner]:
    made = JobRunner(BOUNDS, {"direct": None})
    yield made
    made.close()


def assignment(kind: str, url: str = "test:1", **job: Any) -> Assignment:
    extractor = job.pop("extractor", extractor_path(kind))
    return Assignment(number=5, job=EngineJob(url=url, extractor=extractor, **job), seconds=9)


def result_of(extraction: JobRunner, kind: str, url: str = "test:1", **job: Any) -> Any:
    answer = extraction.run(assignment(kind, url, **job))
    assert isinstance(answer, JobFinished), answer
    assert answer.number == 5
    return json.loads(answer.raw)


def failure_of(extraction: JobRunner, kind: str, url: str = "test:1", **job: Any) -> EngineFailure:
    answer = extraction.run(assignment(kind, url, **job))
    assert isinstance(answer, JobFailed), answer
    assert answer.number == 5
    return answer.failure


def test_result_is_json(extraction: JobRunner) -> None:
    assert result_of(extraction, "Echo")["id"] == "test:1"


def test_only_the_named_extractor_is_loaded(extraction: JobRunner) -> None:
    assert result_of(extraction, "Echo")["extractors"] == ["Echo"]


def test_failure_has_its_facts(extraction: JobRunner) -> None:
    found = failure_of(extraction, "Fail", "test:?fact=known")
    expected = EngineFailure(
        types=("ExtractorError",), message="no such luck", facts={"fact": "known"}
    )
    assert found == expected


def test_facts_of_a_previous_job_are_cleared(extraction: JobRunner) -> None:
    failure_of(extraction, "Fail", "test:?fact=old")
    assert failure_of(extraction, "Fail", "test:?").facts == {}


@pytest.mark.parametrize(
    ("kind", "url", "types"),
    [
        ("Exit", "test:1", ("SystemExit",)),
        ("Big", "test:?bytes=1000000", ("ResultTooLargeError",)),
        ("Big", "test:?bytes=many", ("ValueError",)),
    ],
)
def test_any_error_becomes_a_failure(
    extraction: JobRunner, kind: str, url: str, types: tuple[str, ...]
) -> None:
    assert failure_of(extraction, kind, url).types == types


@pytest.mark.parametrize(("size", "is_kept"), [(1_000, True), (900_000, False)])
def test_subtitles_never_make_a_result_too_large(
    extraction: JobRunner, size: int, is_kept: bool
) -> None:
    found = result_of(extraction, "Subtitled", f"test:?bytes={size}", subtitles=True)
    assert bool(found.get("subtitles")) == is_kept
    assert found["id"] == "x" * size


def test_failure_of_a_process_without_memory_names_it(
    extraction: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.engine.extraction.is_memory_exhausted", lambda: True)
    failure = failure_of(extraction, "Fail", "test:?")
    assert failure.types == ("ExtractorError", "MemoryError")
    assert is_out_of_memory(failure)


@pytest.mark.parametrize(
    ("extractor", "kind"),
    [
        ("no.such.module:X", "ModuleNotFoundError"),
        ("yt_dlp.extractor.tiktok:NoSuchIE", "AttributeError"),
        ("os:system", "TypeError"),
        ("pathlib:Path", "TypeError"),
        ("", "ValueError"),
    ],
)
def test_invalid_extractor_path_is_a_failure(
    extraction: JobRunner, extractor: str, kind: str
) -> None:
    assert failure_of(extraction, "", extractor=extractor).types == (kind,)


def test_cookies_are_passed_to_the_extractor_and_returned(extraction: JobRunner) -> None:
    cookie = Cookie(name="mine", value="1", domain=".a.example")
    answer = extraction.run(assignment("Cookie", "https://www.a.example/", cookies=(cookie,)))
    assert isinstance(answer, JobFinished)
    assert json.loads(answer.raw) == {"seen": {"mine": "1"}}
    assert {found.name for found in answer.cookies} == {"mine", "left"}


def test_cookies_of_a_previous_job_are_cleared(extraction: JobRunner) -> None:
    result_of(extraction, "Cookie", "https://www.a.example/")
    assert result_of(extraction, "Cookie", "https://www.a.example/") == {"seen": {}}


def test_cookies_of_the_initialization_are_set_for_every_job(extraction: JobRunner) -> None:
    found = [result_of(extraction, "OptIn", url=f"http://example.com/{n}") for n in (1, 2)]
    assert [each["cookies"] for each in found] == [["over18"], ["over18"]]


def test_proxy_variables_of_the_environment_are_ignored(
    extraction: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving() as web:
        page = result_of(extraction, "Fetch", f"{web.url}/page?bytes=7")
    assert page["bytes"] == 7


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:text/plain,x", "ftp://127.0.0.1/"])
def test_other_schemes_are_refused(extraction: JobRunner, url: str) -> None:
    assert "NoSupportingHandlers" in failure_of(extraction, "Fetch", url).types


def test_failure_of_a_request_is_flattened(extraction: JobRunner) -> None:
    with serving() as web:
        found = failure_of(extraction, "Fetch", f"{web.url}/refuse?browser=1")
    assert found.types == ("ExtractorError", "HTTPError")
    assert (found.status, found.retry_after) == (429, "17")


def test_failure_message_omits_the_url_query(extraction: JobRunner) -> None:
    found = failure_of(extraction, "Fetch", "http://127.0.0.1:1/page?token=secret")
    assert "secret" not in found.message
    assert found.types[:2] == ("ExtractorError", "TransportError")


def test_nothing_is_printed(extraction: JobRunner, capfd: pytest.CaptureFixture[str]) -> None:
    result_of(extraction, "Echo")
    failure_of(extraction, "Fail")
    assert capfd.readouterr() == ("", "")


def test_warm_up_names_the_missing_module() -> None:
    warm_up([extractor_path("Echo")])
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        warm_up(["nowhere:X"])


def test_extractor_is_loaded_by_its_path() -> None:
    assert load_extractor("yt_dlp.extractor.tiktok:TikTokVMIE").IE_NAME == "vm.tiktok"


def test_each_egress_has_its_own_proxy_and_connections() -> None:
    with serving() as one, serving() as two:
        extraction = JobRunner(BOUNDS, {"a": one.url, "b": two.url, "direct": None})
        url = "http://somewhere.example/page?bytes=7"
        for egress in ("a", "b", "a", "a", "b"):
            assert result_of(extraction, "Fetch", url, egress=egress)["bytes"] == 7
        extraction.close()
        assert (len(one.paths), len(two.paths)) == (3, 2)


def test_unknown_egress_is_a_failure(extraction: JobRunner) -> None:
    assert failure_of(extraction, "Echo", egress="nowhere").types == ("KeyError",)


def test_cookies_are_kept_apart_per_egress() -> None:
    extraction = JobRunner(BOUNDS, {"a": None, "b": None})
    result_of(extraction, "Cookie", "https://www.a.example/", egress="a")
    page = result_of(extraction, "Cookie", "https://www.a.example/", egress="b")
    assert page == {"seen": {}}
    extraction.close()


def list_result(extraction: JobRunner, site: str, limit: int | None) -> Any:
    return result_of(extraction, "List", f"test:?site={site}&pages=5&each=3", entries_max=limit)


@pytest.mark.parametrize(("limit", "pages"), [(0, 0), (1, 1), (3, 1), (4, 2), (15, 5)])
def test_list_requests_no_more_pages_than_needed(
    extraction: JobRunner, limit: int, pages: int
) -> None:
    with serving() as web:
        found = list_result(extraction, web.url, limit)
        assert [path.rpartition("=")[2] for path in web.paths] == [str(n) for n in range(pages)]
    assert [entry["id"] for entry in found["entries"]] == [str(n) for n in range(limit)]
    assert (found["_type"], found["id"], found["title"]) == ("playlist", "list", "a list")
    assert found["clipmill_complete"] is False


def test_list_error_before_enough_entries_is_a_failure(extraction: JobRunner) -> None:
    with serving() as web:
        url = f"test:?site={web.url}&pages=5&each=3"
        found = failure_of(extraction, "List", url, entries_max=16)
    assert (found.types, found.message) == (("ExtractorError",), "there is no end")


def test_list_is_a_failure_when_no_entries_are_requested(extraction: JobRunner) -> None:
    with serving() as web:
        found = failure_of(extraction, "List", f"test:?site={web.url}&pages=5&each=3")
        assert web.paths == []
    assert found.types == ("NotAResultError",)


def test_list_request_after_the_deadline_fails(extraction: JobRunner) -> None:
    with serving() as web:
        job = EngineJob(
            url=f"test:?site={web.url}&pages=5&each=3",
            extractor=extractor_path("List"),
            entries_max=9,
        )
        answer = extraction.run(Assignment(number=5, job=job, seconds=0))
        assert web.paths == []
    assert isinstance(answer, JobFailed)
    assert answer.failure.types[-1] == "TransportError"


def test_job_after_a_list_may_send_requests(extraction: JobRunner) -> None:
    with serving() as web:
        list_result(extraction, web.url, 3)
        assert result_of(extraction, "Fetch", f"{web.url}/page?bytes=7")["bytes"] == 7


def test_thousand_entries_fit_into_a_result(extraction: JobRunner) -> None:
    with serving() as web:
        url = f"test:?site={web.url}&pages=50&each=20"
        assert len(result_of(extraction, "List", url, entries_max=1_000)["entries"]) == 1_000
