from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

import pytest

from schemas.codec import encode
from schemas.commands import Cancel, Retry
from streams.console.handlers.submission import find_links
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console


class Links(HTMLParser):
    """The targets and anchors of a page, and the text that people read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str | None] = set()
        self.scripts: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]
        self.anchors.update(value for name, value in attrs if name == "id")

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_requests_are_listed_with_their_states_and_filters(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        page = await (await client.get("/?state=parked")).text()
    text = Links(page).text
    assert "b/0" in text
    assert "done" not in text
    assert "<option selected>parked</option>" in page
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
    assert page.scripts == ["static/theme.js", "static/console.js"]
    assert HOSTILE in page.text


async def test_every_link_of_every_page_is_relative_and_leads_to_a_page(tmp_path: Path) -> None:
    unread, found = ["/"], {"/"}
    anchors: dict[str, set[str | None]] = {}
    linked_anchors: set[tuple[str, str]] = set()
    async with running_console(tmp_path, *CHANGES) as client:
        while unread:
            path = unread.pop()
            response = await client.get(path)
            assert response.status == 200, path
            if response.content_type != "text/html":
                continue
            page = Links(await response.text())
            anchors[path] = page.anchors
            for target in page.targets:
                parts = urlsplit(target)
                assert (parts.scheme, parts.netloc, target[:1] == "/") == ("", "", False), target
                linked, anchor = urldefrag(urljoin(path, target))
                if anchor:
                    linked_anchors.add((linked, anchor))
                if linked not in found:
                    found.add(linked)
                    unread.append(linked)
    assert {"/", "/static/console.css", "/static/icon.svg", "/request?id=done"} <= found
    assert [each for each in linked_anchors if each[1] not in anchors[each[0]]] == []
    assert len(linked_anchors) > 30


async def test_page_without_requests_says_so(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        assert "There is no request yet." in await (await client.get("/")).text()
        assert "No request matches." in await (await client.get("/?state=failed")).text()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/cancel?id=nobody", 404, "The history has no request 'nobody'."),
        ("/retry", 404, "The history has no request ''."),
        ("/request?id=nobody", 404, "The history has no request 'nobody'."),
        ("/request", 404, "The history has no request ''."),
        ("/?limit=x", 400, "limit: 'x' is not a number"),
        ("/?state=foo", 400, "state: 'foo' is not one of accepted, extracted, selected, "),
        ("/?error=foo", 400, "error: 'foo' is not an error code, such as content.not_found;"),
        ("/new-job?command=retry&error=foo", 400, "error: 'foo' is not an error code"),
        ("/new-job?command=retry&state=foo", 400, "state: 'foo' is not one of accepted, "),
        ("/new-job?command=retry&stat=failed", 400, "stat: unknown; there are command, state, "),
        ("/elsewhere", 404, "/elsewhere: Not Found"),
        ("/static/../server.py", 404, "Not Found"),
    ],
)
async def test_error_is_a_page(tmp_path: Path, path: str, status: int, text: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get(path)
        assert response.status == status
        assert text in Links(await response.text()).text


OWN = {"Sec-Fetch-Site": "same-origin"}
URL = "https://www.tiktok.com/@a/video/7"


@pytest.mark.parametrize(
    ("text", "links"),
    [
        (URL, [URL]),
        (f"Look! {URL}, and ({URL}?a=1).", [URL, f"{URL}?a=1"]),
        (f"{URL}\n{URL}\r\nhttp://b.example/\u200b", [URL, "http://b.example/\u200b"]),
        ("see www.tiktok.com/@a/video/7, awww.", ["www.tiktok.com/@a/video/7"]),
        ("javascript:alert(1) ftp://a.example", []),
        ("", []),
    ],
)
def test_links_are_found_in_a_text(text: str, links: list[str]) -> None:
    assert find_links(text) == links


async def test_links_of_a_text_are_submitted_with_options(tmp_path: Path) -> None:
    form = {"text": f"two: {URL} {URL}8", "action": "info", "quality": "720p", "degrade": "no"}
    async with running_console(tmp_path) as client:
        response = await client.post("/submit", data=form, headers=OWN, allow_redirects=False)
        published = client.producer.requests
    target, query = response.headers["Location"].split("?")
    assert (response.status, target, dict(parse_qsl(query))["submitted"]) == (303, "./", "2")
    assert "since" in dict(parse_qsl(query))
    assert [each["url"] for each in published] == [URL, f"{URL}8"]
    options = {"quality": "720p", "degrade": False}
    assert all((each["action"], each["options"]) == ("info", options) for each in published)


async def test_page_of_a_new_request_waits_for_it(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        response = await client.post("/submit", data={"text": URL}, headers=OWN)
        page = await response.text()
    assert response.status == 200
    assert 'http-equiv="refresh"' in page
    assert str(response.url.query["id"]) in page


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"text": "no link"}, "There is no link in the text"),
        ({"text": URL, "max_bytes": "many"}, "$.options.max_bytes"),
        ({"text": URL, "quality": "<9p>"}, "$.options.quality"),
        ({"text": URL, "action": "x"}, "$.action"),
    ],
)
async def test_unusable_form_is_shown_again_with_the_error(
    tmp_path: Path, form: dict[str, str], message: str
) -> None:
    async with running_console(tmp_path) as client:
        response = await client.post("/submit", data=form, headers=OWN)
        text = Links(await response.text()).text
        assert client.producer.requests == []
    assert response.status == 400
    assert message in text
    assert form["text"] in text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/submit", {"text": URL, "quality": "720p"}),
        ("/submit", {"text": f"{URL} {URL}8"}),
        ("/retry", {"id": "done", "quality": "480p"}),
    ],
)
async def test_form_that_is_posted_again_publishes_the_same_ids(
    tmp_path: Path, path: str, form: dict[str, str]
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        nonces = []
        for _ in range(2):
            page = await (await client.get(f"{path}?id=done")).text()
            nonces.append(page.split('name="nonce" value="')[1].split('"')[0])
        for nonce, changes in (
            (nonces[0], {}),
            (nonces[0], {}),
            (nonces[0], {"quality": "360p"}),
            (nonces[1], {}),
        ):
            values = form | changes | {"nonce": nonce}
            await client.post(path, data=values, headers=OWN, allow_redirects=False)
        producer = client.producer
        ids = [each["id"] for each in producer.requests] or [each.id for each in producer.commands]
    count = len(ids) // 4
    first, again, changed, other = (ids[index * count : (index + 1) * count] for index in range(4))
    assert first == again
    assert len({*first, *changed, *other}) == 3 * count


async def test_shared_link_fills_the_form(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        page = await (await client.get("/submit", params={"text": f"Look {URL} <b>"})).text()
        assert client.producer.requests == []
    assert f">{URL}</textarea>" in page


@pytest.mark.parametrize(
    ("query", "links"),
    [
        ({"title": "A clip", "text": f"Look! {URL}", "url": ""}, [URL]),
        ({"title": URL, "url": f"{URL}8"}, [f"{URL}8", URL]),
        ({"url": "javascript:alert(1)", "text": "no link"}, []),
    ],
)
async def test_share_target_finds_links_in_every_parameter(
    tmp_path: Path, query: dict[str, str], links: list[str]
) -> None:
    async with running_console(tmp_path) as client:
        manifest = await (await client.get("/static/app.webmanifest")).json(content_type=None)
        target = manifest["share_target"]
        assert set(target["params"].values()) >= query.keys()
        address = urljoin("/static/app.webmanifest", target["action"])
        page = await (await client.get(address, params=query)).text()
        assert client.producer.requests == []
    assert ">" + "\n".join(links) + "</textarea>" in page


async def test_bookmarklet_is_offered_where_requests_are_accepted(tmp_path: Path) -> None:
    for read_only in (False, True):
        async with running_console(tmp_path, read_only=read_only) as client:
            page = Links(await (await client.get("/submit")).text())
        assert ("javascript:void open('CONSOLE/submit?text='" in page.text) is not read_only
        assert not any(each.startswith("javascript:") for each in page.targets)


async def test_form_explains_actions_and_options_without_marks_of_markdown(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        page = Links(await (await client.get("/submit")).text())
    assert "stores files, info returns" in page.text
    assert "Source of the sound: the video itself" in page.text
    assert "`" not in page.text
    assert "unchanged" not in page.text


async def test_cancel_is_confirmed_with_its_count(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        page = Links(await (await client.get("/cancel?id=b/0")).text())
        assert "Cancel 1 request" in page.text
        response = await client.post("/cancel", data={"id": "b/0"}, headers=OWN)
        (command,) = client.producer.commands
        text = await response.text()
    assert isinstance(command, Cancel)
    assert command.request_id == "b/0"
    assert "its effect appears below" in text


@pytest.mark.parametrize(("given", "is_named"), [("12", True), ("<b>", False), ("", False)])
async def test_list_names_the_number_of_submitted_requests(
    tmp_path: Path, given: str, is_named: bool
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get("/", params={"submitted": given})
        page = await response.text()
    assert response.status == 200
    assert ("12 requests are published" in page) is is_named


@pytest.mark.parametrize("order", ["submit", "retry", "cancel"])
async def test_decided_request_names_no_published_command(tmp_path: Path, order: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get("/request", params={"id": "done", "ordered": order})
        assert "published" not in Links(await response.text()).text


async def test_retry_keeps_what_is_unchanged(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        assert (await client.get("/retry?id=done")).status == 200
        form = {"id": "done", "quality": "480p", "codec": ""}
        await client.post("/retry", data=form, headers=OWN, allow_redirects=False)
        (command,) = client.producer.commands
    assert isinstance(command, Retry)
    assert encode(command.options) == b'{"quality":"480p"}'


@pytest.mark.parametrize("path", ["/cancel", "/retry"])
async def test_command_without_a_request_is_rejected(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.post(path, data={}, headers=OWN)
        assert client.producer.commands == []
        assert "$.request_id" in Links(await response.text()).text
    assert response.status == 400


async def test_read_only_console_offers_no_change(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES, read_only=True) as client:
        for path in ("/request?id=b/0", "/submit"):
            assert "<button>" not in await (await client.get(path)).text()
        response = await client.post("/cancel", data={"id": "b/0"}, headers=OWN)
        assert (response.status, client.producer.commands) == (403, [])
