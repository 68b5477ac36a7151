from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console
from tests.unit.streams.console.test_pages import Links


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("done", "request?id=done"),
        (" b/0 ", "request?id=b%2F0"),
        (
            "https://www.tiktok.com/@a/video/7",
            "./?url=https%3A%2F%2Fwww.tiktok.com%2F%40a%2Fvideo%2F7",
        ),
        ("tiktok:7", "./?video=tiktok%3A7"),
        ("content.not_found", "./?error=content.not_found"),
        ("failed", "./?state=failed"),
        ("b", "./?batch=b"),
        ("  ", "./"),
    ],
)
async def test_search_leads_to_what_the_text_is(tmp_path: Path, text: str, location: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get("/search", params={"text": text}, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, location)


@pytest.mark.parametrize("title", ["a clip", HOSTILE, "\x00\x1b[2J\n", "x" * 300])
async def test_title_is_shown_beside_the_url_as_text(tmp_path: Path, title: str) -> None:
    async with running_console(tmp_path, replace(CHANGES[0], title=title), CHANGES[1]) as client:
        text = await (await client.get("/")).text()
    page = Links(text)
    # Isolated: its direction, and characters that set it, end with it.
    assert text.count('<bdi class="title">') == 1
    assert f"{title} https://www.tiktok.com/@a/video/7" in page.text
    assert page.scripts == ["static/theme.js", "static/console.js"]


async def test_unknown_text_is_named_as_text(tmp_path: Path) -> None:
    unknown = f"{HOSTILE[:40]}?"
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get("/search", params={"text": unknown})
        page = Links(await response.text())
        too_long = await client.get("/search", params={"text": "x" * 5_000})
    assert response.status == 404
    assert "is no id, URL, post" in page.text
    assert page.scripts == ["static/theme.js", "static/console.js"]
    assert too_long.status == 400
