"""`submit`, `results` and `watch` against a real service: files, pipes and live output."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 60
INTERRUPTED = 130


def small(serial: int) -> str:
    return page(video_id("kilobytes", param=16, serial=serial))


def parse_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def statuses(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {each["request_id"]: each["status"] for each in results}


@pytest.fixture(autouse=True)
def _sigint_is_not_ignored() -> Iterator[None]:
    """A background job of a shell ignores SIGINT, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@asynccontextmanager
async def running_command(
    pipeline: PipelineProcess, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await pipeline.start_clipmill(*arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        return (await process.stdout.readline()).decode()


# submit


async def test_every_option_reaches_the_result(pipeline: PipelineProcess) -> None:
    arguments = [
        *("--action", "info", "--quality", "480p", "--container", "mp4", "--codec", "h264"),
        *("--watermark", "allow", "--max-bytes", "1GiB", "--no-degrade", "--refresh"),
        *("--deadline", "1h", "--priority", "9", "--attribute", "a=1", "--attribute", "b=2=3"),
        *("--retry-of", "older", "--no-audio-only", "--id", "every-option"),
    ]
    status, out, err = await pipeline.clipmill("submit", small(1), *arguments, "--wait", "--json")
    assert status == 0, err
    (result,) = parse_lines(out)
    assert result["request_id"] == "every-option"
    assert result["attributes"] == {"a": "1", "b": "2=3"}
    assert result["retry_of"] == "older"


async def test_links_of_a_file_are_submitted_and_awaited(
    pipeline: PipelineProcess, tmp_path: Path
) -> None:
    file = tmp_path / "links.txt"
    whole = {"id": "whole", "urls": [small(13), "nonsense"], "action": "info"}
    file.write_text(f"# links\n\n{small(11)}\n  {small(12)}  \n{json.dumps(whole)}\n")
    arguments = ("--file", str(file), "--id", "file", "--action", "info", "--wait", "--json")
    status, out, err = await pipeline.clipmill("submit", *arguments)
    assert status == 2, err
    expected = {"file-1": "completed", "file-2": "completed"}
    assert statuses(parse_lines(out)) == expected | {"whole/0": "completed", "whole/1": "rejected"}


async def test_links_of_stdin_are_grouped_into_batches(pipeline: PipelineProcess) -> None:
    links = "\n".join(map(small, range(20, 25))).encode()
    arguments = ("--file", "-", "--batch", "2", "--id", "batches", "--action", "info")
    status, out, err = await pipeline.clipmill_with_stdin(
        links, "submit", *arguments, "--wait", "--json"
    )
    assert status == 0, err
    members = {"batches-1/0", "batches-1/1", "batches-2/0", "batches-2/1", "batches-3/0"}
    assert statuses(parse_lines(out)) == dict.fromkeys(members, "completed")


async def test_invalid_line_is_named_and_corrected_input_repeats_no_request(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    good, bad = small(31), '{"url": "x", "options": {"quality": "4k"}}'
    arguments = ("--file", "-", "--id", "mended", "--action", "info")
    stdin = f"{good}\n{bad}\n{small(32)}\n".encode()
    status, out, err = await pipeline.clipmill_with_stdin(stdin, "submit", *arguments, "--json")
    assert status == 1
    assert "standard input, line 2: $.options.quality: " in err
    assert "1 requests before it are published" in err
    assert "--id mended" in err
    assert "Traceback" not in err
    assert [each["request_id"] for each in parse_lines(out)] == ["mended-1"]
    await client.outcome("mended-1")
    stdin = f"{good}\n{small(33)}\n{small(32)}\n".encode()
    status, out, err = await pipeline.clipmill_with_stdin(
        stdin, "submit", *arguments, "--wait", "--json"
    )
    assert status == 0, err
    names = {f"mended-{number}" for number in (1, 2, 3)}
    assert statuses(parse_lines(out)) == dict.fromkeys(names, "completed")
    assert client.request_counts(video_id("kilobytes", param=16, serial=31))["page"] == 1


async def test_lines_of_a_pipe_are_published_on_arrival(pipeline: PipelineProcess) -> None:
    arguments = ("--file", "-", "--id", "slow", "--action", "info", "--wait", "--json")
    async with running_command(pipeline, "submit", *arguments) as process:
        assert process.stdin is not None
        for number in (1, 2):
            process.stdin.write(f"{small(40 + number)}\n".encode())
            result = json.loads(await read_line(process))
            assert (result["request_id"], result["status"]) == (f"slow-{number}", "completed")
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0


async def test_sigint_while_reading_stdin_exits_without_traceback(
    pipeline: PipelineProcess,
) -> None:
    async with running_command(pipeline, "submit", "--file", "-", "--json") as process:
        assert process.stdin is not None
        process.stdin.write(f"{small(43)}\n".encode())
        await read_line(process)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 1
    assert err.decode().strip() == "Aborted!"


@pytest.mark.parametrize("waiting", [(), ("--wait",)], ids=["published", "results"])
async def test_submit_exits_when_its_stdout_is_closed(
    waiting: tuple[str, ...], pipeline: PipelineProcess
) -> None:
    arguments = ("submit", "--file", "-", "--action", "info", "--json", *waiting)
    async with running_command(pipeline, *arguments) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for number in range(50, 55):
            process.stdin.write(f"{small(number)}\n".encode())
        await read_line(process)
        process.stdout._transport.close()  # type: ignore[union-attr]
        async with asyncio.timeout(SECONDS):
            while process.returncode is None:
                process.stdin.write(f"{small(55)}\n".encode())
                await asyncio.sleep(0.2)
            err = await process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in err, err


async def test_thousands_of_lines_are_published_in_order(
    pipeline: PipelineProcess, tmp_path: Path
) -> None:
    file = tmp_path / "many.txt"
    file.write_text("".join(f"no link {number}\n" for number in range(2_500)))
    arguments = ("--file", str(file), "--batch", "500", "--id", "many", "--wait", "--json")
    status, out, err = await pipeline.clipmill("submit", *arguments)
    assert status == 2, err
    expected = {f"many-{batch}/{index}" for batch in range(1, 6) for index in range(500)}
    assert statuses(parse_lines(out)) == dict.fromkeys(expected, "rejected")


# results


async def test_results_prints_to_the_end_of_the_topic(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await client.request(small(60), id="shown", action="info")
    await client.request("nonsense", id="shown-too")
    status, out, err = await pipeline.clipmill("results", "--json", "--id", "shown*")
    assert status == 0, err
    assert statuses(parse_lines(out)) == {"shown": "completed", "shown-too": "rejected"}
    _, out, _ = await pipeline.clipmill("results", "--id", "shown*", "--status", "rejected")
    (text,) = out.splitlines()
    assert text.split()[1:3] == ["rejected", "shown-too"]
    assert "request.invalid" in text or "content.unsupported" in text
    for start in ("end", "2100-01-01"):
        assert await pipeline.clipmill("results", "--from", start) == (0, "", "")
    _, out, _ = await pipeline.clipmill("results", "--from", "1h", "--json", "--id", "shown")
    assert statuses(parse_lines(out)) == {"shown": "completed"}


async def test_results_follow_until_sigint(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await client.request("nonsense", id="followed-before")
    arguments = ("results", "--follow", "--from", "beginning", "--id", "followed-*", "--json")
    async with running_command(pipeline, *arguments) as process:
        assert json.loads(await read_line(process))["request_id"] == "followed-before"
        await client.request("nonsense", id="followed-after")
        assert json.loads(await read_line(process))["request_id"] == "followed-after"
        process.send_signal(signal.SIGINT)
        output = await asyncio.wait_for(process.communicate(), SECONDS)
    assert (process.returncode, output) == (INTERRUPTED, (b"", b""))


async def test_results_exits_when_its_stdout_is_closed(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await client.request("nonsense", id="early-0")
    arguments = ("results", "--follow", "--from", "beginning", "--id", "early-*")
    async with running_command(pipeline, *arguments) as process:
        assert process.stderr is not None
        assert "early-0" in await read_line(process)
        process.stdout._transport.close()  # type: ignore[union-attr]
        await client.request("nonsense", id="early-1")
        async with asyncio.timeout(SECONDS):
            err = await process.stderr.read()
            assert await process.wait() == 1
    assert b"Traceback" not in err, err


# watch


async def test_watch_shows_a_request_live_and_after_it_finished(pipeline: PipelineProcess) -> None:
    slow = page(video_id("media.takes", param=3, serial=70))
    async with running_command(pipeline, "watch", "watched", "--json") as process:
        assert process.stderr is not None
        assert b"no record of watched yet" in await process.stderr.readline()
        await pipeline.publish({"id": "watched", "url": slow})
        live, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0
    records = parse_lines(live.decode())
    assert {each["topic"] for each in records} == {"audit", "progress", "results"}
    assert [each["message"]["transition"] for each in records if each["topic"] == "audit"] == [
        "accepted",
        "extracted",
        "selected",
        "finished",
    ]
    status, out, err = await pipeline.clipmill("watch", "watched", "--json")
    assert (status, err) == (0, "")
    assert sorted(out.splitlines()) == sorted(
        json.dumps(each) for each in records if each["topic"] != "progress"
    )
    status, out, _ = await pipeline.clipmill("watch", "watched")
    assert [line.split()[1] for line in out.splitlines()] == [
        *("accepted", "extracted", "selected", "finished", "completed")
    ]


async def test_watch_ends_with_the_last_member_of_a_batch(pipeline: PipelineProcess) -> None:
    slow = page(video_id("media.takes", param=2, serial=71))
    async with running_command(pipeline, "watch", "watched-batch", "--json") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        await pipeline.publish({"id": "watched-batch", "urls": [small(72), slow, "nonsense"]})
        live, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 2
    found = [each["message"] for each in parse_lines(live.decode()) if each["topic"] == "results"]
    expected = {"watched-batch/0": "completed", "watched-batch/1": "completed"}
    expected["watched-batch/2"] = "rejected"
    assert statuses(found).items() >= expected.items()


async def test_watch_shows_cancellation(pipeline: PipelineProcess) -> None:
    slow = page(video_id("media.takes", param=30, serial=73))
    await pipeline.publish({"id": "unwanted", "url": slow})
    async with running_command(pipeline, "watch", "unwanted") as process:
        assert "accepted" in await read_line(process)
        await pipeline.publish_command(command="cancel", request_id="unwanted", by="ann")
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 2
    assert "cancelled" in out.decode().splitlines()[-1]


async def test_watch_timeout_is_a_readable_error(pipeline: PipelineProcess) -> None:
    status, out, err = await pipeline.clipmill("watch", "never", "--timeout", "1")
    assert (status, out) == (1, "")
    assert "no outcome of never within 1 s" in err
    assert "Traceback" not in err


async def test_watch_ends_silently_on_sigint(pipeline: PipelineProcess) -> None:
    async with running_command(pipeline, "watch", "never") as process:
        assert process.stderr is not None
        await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.communicate(), SECONDS) == (b"", b"")
    assert process.returncode == INTERRUPTED
