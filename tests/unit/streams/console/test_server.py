import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.console.jobs.store import JobStore
from streams.console.server import ConsoleAddressError, serve_console
from streams.history.store import HistoryError, HistoryStore
from streams.observability.http_server import AddressError
from tests.unit.streams.console.consoles import CHANGES, TOKEN, running_console, services


@pytest.mark.parametrize("path", ["/", "/request?id=x", "/api/v1/counts", "/static/console.css"])
async def test_every_response_has_the_security_headers(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        headers = (await client.get(path)).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8090"])
async def test_loopback_name_is_answered(tmp_path: Path, host: str) -> None:
    async with running_console(tmp_path) as client:
        assert (await client.get("/", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/v1/counts"])
async def test_name_of_another_host_is_refused(tmp_path: Path, host: str, path: str) -> None:
    async with running_console(tmp_path) as client:
        response = await client.get(path, headers={"Host": host})
    assert response.status == 403


@pytest.mark.parametrize("path", ["/", "/api/v1/counts"])
async def test_history_that_cannot_be_read_is_named(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise HistoryError("history.db: disk I/O error; free space on the disk")

    monkeypatch.setattr(HistoryStore, "counts", fail)
    async with running_console(tmp_path) as client:
        response = await client.get(path)
        assert response.status == 503
        assert "free space on the disk" in await response.text()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:80", "example.com:80"])
async def test_address_that_others_reach_needs_a_login(tmp_path: Path, address: str) -> None:
    stores = HistoryStore(tmp_path / "h.db"), JobStore(tmp_path / "c.db")
    serving = serve_console(address, services(*stores))
    with pytest.raises(ConsoleAddressError, match=r"reached from other hosts; set console\.token"):
        await serving.__aenter__()


async def test_taken_port_and_malformed_address_are_named(tmp_path: Path) -> None:
    jobs = JobStore(tmp_path / "c.db")
    with HistoryStore(tmp_path / "h.db") as store, socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConsoleAddressError, match="cannot listen on 127"):
            async with serve_console(url, services(store, jobs)):
                pass
        with pytest.raises(AddressError, match="'8090' is not HOST:PORT"):
            async with serve_console("8090", services(store, jobs)):
                pass


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("127.0.0.1:0", {}),
        ("0.0.0.0:0", {"token": TOKEN}),
        ("0.0.0.0:0", {"user_header": "X-User", "proxies": ["127.0.0.1"]}),
    ],
)
async def test_free_port_is_served_under_its_url(
    tmp_path: Path, address: str, settings: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-User": "ann"}
    with HistoryStore(tmp_path / "h.db") as store:
        serving = serve_console(address, services(store, JobStore(tmp_path / "c.db"), **settings))
        async with serving as url, aiohttp.ClientSession(headers=headers) as session:
            assert (await session.get(f"{url}/api/v1/counts")).status == 200


@pytest.mark.parametrize("path", ["/", "/static/console.js", "/api/v1/requests"])
async def test_text_is_compressed_for_clients_that_accept_it(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        compressed = await client.get(path, headers={"Accept-Encoding": "gzip, br"})
        assert await compressed.text() == await plain.text()
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"


async def test_static_file_is_revalidated_by_each_page(tmp_path: Path) -> None:
    """Else the pages of an updated console have the scripts of the one before."""
    async with running_console(tmp_path) as client:
        first = await client.get("/static/console.css")
        assert first.headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": first.headers["ETag"]}
        # The second one is on the same connection.
        for _ in range(2):
            again = await client.get("/static/console.css", headers=known)
            assert (again.status, await again.read()) == (304, b"")
