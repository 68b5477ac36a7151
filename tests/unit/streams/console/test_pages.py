from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console


class Links(HTMLParser):
    """The targets of a page, and the text that people read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_requests_are_listed_with_their_states_and_filters(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        page = await (await client.get("/?state=parked")).text()
    text = Links(page).text
    assert "b/0" in text
    assert "done" not in text
    assert 'value="parked"' in page
    assert all(each in text for each in ("completed", "failed", "platform.breaker_open"))


async def test_request_shows_its_transitions(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        page = Links(await (await client.get("/request?id=done")).text())
    assert all(each in page.text for each in ("done", "completed", "finished", "ledger", "a: b"))


@pytest.mark.parametrize("path", ["/", "/request"])
async def test_text_of_clients_is_shown_as_text(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        page = Links(
            await (await client.get(path, params={"id": HOSTILE} if path != "/" else {})).text()
        )
    assert "script" not in page.tags
    assert HOSTILE in page.text


async def test_every_link_of_every_page_is_relative_and_leads_to_a_page(tmp_path: Path) -> None:
    seen: set[str] = set()
    async with running_console(tmp_path, *CHANGES) as client:
        unread = ["/"]
        while unread:
            path = unread.pop()
            response = await client.get(path)
            assert response.status == 200, path
            seen.add(path)
            if response.content_type != "text/html":
                continue
            for target in Links(await response.text()).targets:
                parts = urlsplit(target)
                assert (parts.scheme, parts.netloc, target[:1] == "/") == ("", "", False), target
                linked = urljoin(path, target)
                if linked not in seen:
                    unread.append(linked)
    assert {"/", "/static/console.css", "/static/icon.svg", "/request?id=done"} <= seen


async def test_page_without_requests_says_so(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        assert "No request matches." in await (await client.get("/")).text()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/request?id=nobody", 404, "The history has no request 'nobody'."),
        ("/request", 404, "The history has no request ''."),
        ("/?limit=x", 400, "limit: 'x' is not a number"),
        ("/elsewhere", 404, "/elsewhere: Not Found"),
        ("/static/../server.py", 404, "Not Found"),
    ],
)
async def test_error_is_a_page(tmp_path: Path, path: str, status: int, text: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get(path)
        assert response.status == status
        assert text in Links(await response.text()).text
