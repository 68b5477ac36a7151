"""Both request handlers against one server: the same bounds apply to both."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from yt_dlp.cookies import YoutubeDLCookieJar
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import (
    HTTPError,
    IncompleteRead,
    RequestError,
    TransportError,
    UnsupportedRequest,
)

from agents.engine.curl_handler import GuardedCurlRH
from agents.engine.handlers import (
    IMPERSONATION,
    GuardedRequestsRH,
    engine_versions,
    guarded_handlers,
)
from agents.engine.request_bounds import Bounds, Deadline, PageTooLargeError
from agents.network.guard import connect_check
from tests.unit.agents.engine.web import Web, serving

KINDS = [GuardedCurlRH, GuardedRequestsRH]
PAGE_BYTES = 100_000


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture(params=KINDS, ids=["curl", "requests"])
def handler(request: pytest.FixtureRequest) -> Iterator[Any]:
    deadline = Deadline()
    deadline.start(60)
    with new_handler(request.param, deadline) as handler:
        yield handler


def new_handler(
    kind: Any, deadline: Deadline, seconds: float = 5.0, permits: Any = lambda *_: True
) -> Any:
    bounds = Bounds(
        page_bytes_max=PAGE_BYTES,
        request_seconds=seconds,
        ca_file=Path(certifi.where()),
        permits=permits,
    )
    jar = YoutubeDLCookieJar()
    return kind(bounds=bounds, deadline=deadline, logger=None, cookiejar=jar, timeout=20)


def get(handler: Any, url: str) -> bytes:
    with handler.send(Request(url)) as response:
        body: bytes = response.read()
        return body


def test_reads_a_page_to_its_end(handler: Any, web: Web) -> None:
    assert get(handler, f"{web.url}/page?bytes={PAGE_BYTES}") == b"x" * PAGE_BYTES


def test_reads_in_parts(handler: Any, web: Web) -> None:
    with handler.send(Request(f"{web.url}/page?bytes=10")) as response:
        assert [response.read(4), response.read(4), response.read()] == [b"xxxx", b"xxxx", b"xx"]


def test_connection_is_reused(handler: Any, web: Web) -> None:
    for _ in range(5):
        get(handler, f"{web.url}/page")
    assert web.connections == 1


@pytest.mark.parametrize("path", ["page", "gzip"])
def test_page_over_the_limit_is_refused(handler: Any, web: Web, path: str) -> None:
    with pytest.raises(PageTooLargeError):
        get(handler, f"{web.url}/{path}?bytes={PAGE_BYTES + 1}")


def test_decompression_bomb_is_refused_early(handler: Any, web: Web) -> None:
    # CPU time of this thread: the server compresses in another one.
    started = time.thread_time()
    with pytest.raises(PageTooLargeError):
        get(handler, f"{web.url}/gzip?bytes={200_000_000}")
    assert time.thread_time() - started < 2


def test_truncated_page_is_refused(handler: Any, web: Web) -> None:
    with pytest.raises(IncompleteRead) as caught:
        get(handler, f"{web.url}/short")
    assert (caught.value.partial, caught.value.expected) == (400, 600)


def test_status_of_a_truncated_page_is_reported(handler: Any, web: Web) -> None:
    with pytest.raises(HTTPError) as caught:
        get(handler, f"{web.url}/short?status=503")
    assert caught.value.status == 503
    caught.value.close()


@pytest.mark.parametrize("kind", KINDS, ids=["curl", "requests"])
def test_timeout_covers_the_whole_request(kind: Any, web: Web) -> None:
    deadline = Deadline()
    deadline.start(0.4)
    started = time.monotonic()
    with new_handler(kind, deadline) as handler, pytest.raises(TransportError):
        get(handler, f"{web.url}/drip")
    assert 0.3 < time.monotonic() - started < 2


def test_curl_request_has_its_own_limit_within_the_deadline(web: Web) -> None:
    deadline = Deadline()
    deadline.start(60)
    started = time.monotonic()
    with (
        new_handler(GuardedCurlRH, deadline, seconds=0.3) as handler,
        pytest.raises(TransportError),
    ):
        get(handler, f"{web.url}/drip")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", KINDS, ids=["curl", "requests"])
def test_no_request_begins_after_the_deadline(kind: Any, web: Web) -> None:
    with new_handler(kind, Deadline()) as handler, pytest.raises(TransportError, match="deadline"):
        get(handler, f"{web.url}/page")
    assert web.connections == 0


def test_status_is_an_error_with_its_headers(handler: Any, web: Web) -> None:
    with pytest.raises(HTTPError) as caught:
        get(handler, f"{web.url}/refuse")
    assert caught.value.status == 429
    assert caught.value.response.get_header("Retry-After") == "17"
    caught.value.close()


def test_redirect_loop_ends(handler: Any, web: Web) -> None:
    with pytest.raises(HTTPError) as caught:
        get(handler, f"{web.url}/loop")
    assert caught.value.redirect_loop
    assert len(web.paths) <= 7
    caught.value.close()


@pytest.mark.parametrize("target", ["ftp://127.0.0.1:1/x", "file:///etc/passwd", "gopher://x/"])
def test_redirect_to_another_scheme_is_refused(handler: Any, web: Web, target: str) -> None:
    with pytest.raises(RequestError):
        get(handler, f"{web.url}/to?url={target}")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:text/plain,x", "ftp://127.0.0.1/"])
def test_other_schemes_are_refused(handler: Any, url: str) -> None:
    with pytest.raises(UnsupportedRequest):
        handler.validate(Request(url))


def test_cookies_are_stored_in_the_jar_and_sent(handler: Any, web: Web) -> None:
    assert get(handler, f"{web.url}/cookies") == b"none"
    assert get(handler, f"{web.url}/cookies") == b"given=1"
    handler.cookiejar.clear()
    assert get(handler, f"{web.url}/cookies") == b"none"


def test_refused_address_is_the_cause_of_a_curl_error(web: Web) -> None:
    deadline = Deadline()
    deadline.start(60)
    handler = new_handler(GuardedCurlRH, deadline, permits=connect_check(None))
    with handler, pytest.raises(TransportError) as caught:
        get(handler, f"{web.url}/page")
    assert type(caught.value.cause).__name__ == "AddressRefusedError"
    assert web.connections == 0


def test_impersonation_is_available() -> None:
    assert IMPERSONATION


def test_engine_without_curl_has_no_impersonation() -> None:
    program = (
        "import sys; sys.modules['curl_cffi'] = None;"
        "from agents.engine.handlers import IMPERSONATION, guarded_handlers;"
        "print(IMPERSONATION, [each.func.__name__ for each in guarded_handlers(None, None)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False ['GuardedRequestsRH']"


def test_urllib_handler_is_left_out() -> None:
    kinds = {handler.func for handler in guarded_handlers(None, None)}  # type: ignore[arg-type,attr-defined]
    assert kinds == set(KINDS)


def test_installed_versions_are_returned() -> None:
    versions = engine_versions()
    assert versions.yt_dlp.startswith("20")
    assert versions.curl_cffi.count(".") >= 1
