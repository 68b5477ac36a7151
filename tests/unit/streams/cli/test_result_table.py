import io
from typing import Any

import pytest
from rich.console import Console

from streams.cli.result_table import (
    PLAIN_WIDTH,
    URL_CHARACTERS,
    describe,
    files_folder,
    open_console,
    results_table,
    safe_markup,
    shorten,
)
from streams.cli.status import _table

FILE = {"uri": "file:///d/tiktok/1.mp4", "bytes": 1_234_567, "reused": False}
LISTING = {"kind": "profile", "entries": [{}, {}], "complete": False}
ERROR = {"error_type": "content.private", "user_message": "The video is private."}

SUMMARY = {
    "request_id": "b",
    "status": "batch_finished",
    "batch_size": 3,
    "counts": {"completed": 2, "rejected": 0, "failed": 1, "undecided": 0},
}


def completed(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "request_id": "r1",
        "url": "https://www.tiktok.com/@a/video/1",
        "status": "completed",
        "timings": {"validation": 0.25, "download": 1.0},
        "attempts": 1,
        "files": list(files),
        "video": {"title": "Cat", "formats": [1, 2]},
        "recovery": [],
    } | more


def failed(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in completed().items() if name != "files"} | {
        "status": "failed",
        "error": ERROR,
        **more,
    }


def rendered(table: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("result", "text"),
    [
        pytest.param(completed(FILE), "1.mp4 (1.2 MB)", id="file"),
        pytest.param(
            completed(FILE | {"reused": True}), "1.mp4 (1.2 MB, already stored)", id="reused"
        ),
        pytest.param(
            completed(FILE, recovery=[{"code": "network.dns"}, {"code": "rate_limit.api"}]),
            "1.mp4 (1.2 MB, retried after network.dns, rate_limit.api)",
            id="recovered",
        ),
        pytest.param(
            completed(FILE, FILE | {"uri": "s3://b/2.jpg", "bytes": 0}),
            "1.mp4 (1.2 MB), 2.jpg (0.0 MB)",
            id="two files",
        ),
        pytest.param(completed(FILE, FILE, FILE, FILE), "4 files (4.9 MB)", id="photo post"),
        pytest.param(completed(), "“Cat”, 2 formats", id="info only"),
        pytest.param(
            completed(video=None, listing=LISTING, members=0),
            "profile of 2 posts (truncated)",
            id="listing",
        ),
        pytest.param(
            completed(video=None, listing=LISTING | {"complete": True}, members=2),
            "profile of 2 posts; 2 requests created",
            id="downloaded listing",
        ),
        pytest.param(failed(), "content.private: The video is private.", id="failed"),
        pytest.param(SUMMARY, "batch of 3: 2 completed, 1 failed", id="batch summary"),
    ],
)
def test_result_is_described_in_one_line(result: dict[str, Any], text: str) -> None:
    assert describe(result) == text


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("https://www.tiktok.com/@a", "tiktok.com/@a"),
        ("http://x.org/", "http://x.org/"),
        ("", ""),
        ("x" * URL_CHARACTERS, "x" * URL_CHARACTERS),
        ("x" * (URL_CHARACTERS + 1), "x" * (URL_CHARACTERS - 1) + "…"),
    ],
)
def test_url_is_shortened(url: str, short: str) -> None:
    assert shorten(url) == short


def test_table_has_all_results() -> None:
    text = rendered(results_table([completed(FILE), failed(request_id="r2"), SUMMARY]))
    assert "batch_finished" in text
    for part in ("r1", "tiktok.com/@a/video/1", "completed", "1.25", "r2", "content.private"):
        assert part in text


HOSTILE = ["[/]", "[/red]", "[bold]x", "[link=https://evil.example]x[/link]", "\x1b[2J", "a\\"]


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_and_escapes_are_shown_literally(text: str) -> None:
    shown = text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    results = [
        failed(error=ERROR | {"user_message": text}, url=text, request_id=text),
        completed(video={"title": text, "formats": []}),
    ]
    output = rendered(results_table(results))
    assert output.count(shown) >= 3
    assert "\x1b" not in output


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_and_escapes_in_a_history_are_shown_literally(text: str) -> None:
    record = {
        "at": "2030-01-01T00:00:00.000000Z",
        "request_id": text,
        "step": "validation",
        "transition": "failed",
        "detail": {"reason": text},
        "outcome": None,
    }
    shown = text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    output = rendered(_table([record]))
    assert output.count(shown) == 2
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ä 日本", "plain ä 日本"), ("a\nb\tc\x00", "a�b�c�"), ("[a]", "\\[a]")],
)
def test_markup_is_escaped_and_controls_are_replaced(text: str, shown: str) -> None:
    assert safe_markup(text) == shown


def test_console_without_terminal_has_the_plain_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert open_console().width == PLAIN_WIDTH


@pytest.mark.parametrize(
    ("uris", "folder"),
    [
        ([], None),
        (["file:///d/tiktok/1/a.mp4"], "/d/tiktok/1"),
        (["file:///d/tiktok/1/a.mp4", "file:///d/tiktok/2/b%20c.mp4"], "/d/tiktok"),
        (["file:///my%20files/a.mp4", "file:///my%20files/b.mp4"], "/my files"),
        (["s3://videos/tiktok/1/a.mp4", "s3://videos/x/2/b.mp4"], "s3://videos/"),
        (["gs://videos/tiktok/1/a.mp4"], "gs://videos/tiktok/1"),
        (["s3://videos/a.mp4"], "s3://videos/"),
    ],
)
def test_folder_has_the_files_of_all_results(uris: list[str], folder: str | None) -> None:
    results = [failed(), *(completed(FILE | {"uri": uri}) for uri in uris)]
    assert files_folder(results) == folder
