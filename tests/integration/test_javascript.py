"""Programs of pages in Deno's sandbox, and the challenges of YouTube's player.

Deno and yt-dlp-ejs are among the requirements for development.
"""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
import pytest_asyncio
from yt_dlp.networking.exceptions import TransportError

from agents.engine.javascript import JavaScript, JavaScriptError
from agents.engine.javascript_support import javascript_support
from agents.engine.request_bounds import Deadline
from schemas.video import Extraction
from tests.integration.failure_samples import EngineHarness, engine_harness
from tests.integration.sites import PLATFORMS, read
from tests.standin.youtube import CHALLENGE, SIGNATURE

SOON_SECONDS = 5.0
ENDLESS = "for (;;) {}"


@pytest.fixture
def deadline() -> Deadline:
    deadline = Deadline()
    deadline.start(30)
    return deadline


@pytest.fixture
def javascript(deadline: Deadline) -> JavaScript:
    return JavaScript(deadline)


def denos() -> list[psutil.Process]:
    mine = psutil.Process().children(recursive=True)
    return [each for each in mine if each.is_running() and each.name() == "deno"]


def attempt(program: str) -> str:
    """Return a program that prints the result of an expression, or its error."""
    return f"try {{ console.log('done', {program}); }} catch (e) {{ console.log(String(e)); }}"


def test_sandbox_is_supported() -> None:
    assert javascript_support().problems == ()


def test_output_of_a_program_is_returned(javascript: JavaScript) -> None:
    assert javascript.run("console.log([1, 2].map((x) => x * 2).join());") == "2,4\n"


@pytest.mark.parametrize(
    ("expression", "refusal"),
    [
        ("await fetch('https://www.youtube.com/')", "Requires net access"),
        ("await Deno.connect({ port: 80 })", "Requires net access"),
        ("Deno.listen({ port: 0 })", "Requires net access"),
        ("Deno.readTextFileSync('/etc/passwd')", "Requires read access"),
        ("await import('file:///etc/' + 'passwd')", "Requires read access"),
        ("await new Function(\"return import('file:///etc/passwd')\")()", "Requires read access"),
        ("await import('https://example' + '.com/x.js')", "--no-remote is specified"),
        ("Deno.writeTextFileSync('/tmp/clipmill', 'x')", "Requires write access"),
        ("Deno.env.toObject()", "Requires env access"),
        ("new Deno.Command('/bin/true').outputSync()", "Requires run access"),
        ("Deno.kill(1)", "Requires run access"),
        ("Deno.dlopen('libc.so.6', {})", "Requires ffi access"),
        ("Deno.hostname()", "Requires sys access"),
    ],
)
def test_program_has_no_permissions(javascript: JavaScript, expression: str, refusal: str) -> None:
    assert refusal in javascript.run(attempt(expression))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("throw new Error('boom')", "boom"),
        ("this is no program", "SyntaxError"),
        ("const all = []; for (;;) all.push(new Array(1e6).fill(all.length));", "status -"),
        ("for (;;) console.log('x'.repeat(1e6));", "File too large"),
        ("Deno.exit(7)", "status 7"),
    ],
)
def test_program_that_fails_or_exceeds_a_limit_is_an_error(
    javascript: JavaScript, program: str, reason: str
) -> None:
    with pytest.raises(JavaScriptError, match=reason):
        javascript.run(program)
    assert denos() == []


def test_endless_program_ends_with_the_deadline_of_its_job(
    javascript: JavaScript, deadline: Deadline
) -> None:
    deadline.start(1)
    started = time.monotonic()
    with pytest.raises(JavaScriptError, match="took longer"):
        javascript.run(ENDLESS)
    assert time.monotonic() - started < 1 + SOON_SECONDS
    assert denos() == []
    with pytest.raises(TransportError):
        javascript.run("console.log(1);")


def test_program_waits_for_its_turn_within_the_deadline(javascript: JavaScript) -> None:
    other = Deadline()
    other.start(2)
    thread = threading.Thread(target=_ignore_error, args=(JavaScript(other), ENDLESS))
    thread.start()
    _wait_for_denos()
    assert javascript.run("console.log(1);") == "1\n"
    thread.join()


def _ignore_error(javascript: JavaScript, program: str) -> None:
    with pytest.raises(JavaScriptError):
        javascript.run(program)


RUN_ENDLESS = f"""
from agents.engine.javascript import JavaScript
from agents.engine.request_bounds import Deadline
deadline = Deadline()
deadline.start(60)
JavaScript(deadline).run({ENDLESS!r})
"""


def test_program_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN_ENDLESS]) as process:
        processes = _wait_for_denos()
        process.kill()
    _, alive = psutil.wait_procs(processes, SOON_SECONDS)
    assert alive == []


def _wait_for_denos() -> list[psutil.Process]:
    for _ in range(500):
        if found := denos():
            return found
        time.sleep(0.02)
    raise AssertionError("no program was started")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


@pytest.mark.asyncio(loop_scope="module")
async def test_ciphered_addresses_are_solved_by_the_program_of_the_player(
    harness: EngineHarness,
) -> None:
    found = await asyncio.gather(*(read(harness, "youtube", "ciphered") for _ in range(4)))
    for extraction in found:
        parameters = [parse_qs(urlsplit(url).query) for url in _addresses(extraction)]
        assert [each["sig"] for each in parameters] == [[SIGNATURE[::-1]]] * 2
        assert [each["n"] for each in parameters] == [[CHALLENGE[::-1]]] * 2


def _addresses(extraction: Extraction) -> list[str]:
    return [each.url for each in PLATFORMS["youtube"].get_media_sources(extraction)]


@pytest.mark.asyncio(loop_scope="module")
async def test_addresses_without_challenges_are_read_as_before(harness: EngineHarness) -> None:
    formats = PLATFORMS["youtube"].get_media_sources(await read(harness, "youtube", "ok"))
    assert {each.format.format_id for each in formats} == {"136", "140"}
