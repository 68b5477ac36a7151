"""The table of `clipmill requests`."""

from rich.console import Console

from streams.cli.requests import _table
from tests.unit.streams.console.rows import row_with

URL = "https://www.tiktok.com/@a/video/7"
HOSTILE = "[red]a[/red]\x1b[31m\nb"


def printed(**fields: object) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(_table([row_with(**fields)]))
    return capture.get()


def test_request_is_listed_with_title_and_url() -> None:
    text = printed(id="order-1", title="A cat", url=URL)
    assert all(each in text for each in ("order-1", "A cat", "tiktok.com/@a/video/7"))
    assert "None" not in printed(id="order-1", url=URL)


def test_hostile_title_changes_neither_colours_nor_lines() -> None:
    text = printed(title=HOSTILE, url=URL)
    assert "[red]a[/red]" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == len(printed(title="x", url=URL).splitlines())
