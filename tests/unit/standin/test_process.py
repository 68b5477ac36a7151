"""The stand-in as a separate process."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.standin import Standin, expected_media, video_id
from tests.unit.standin.clients import client_of, receive_body


@asynccontextmanager
async def start_process(
    state_dir: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.standin", "--state-dir", str(state_dir), *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_process_prints_its_addresses_serves_and_ends_on_sigterm(state_dir: Path) -> None:
    video = video_id("kilobytes", param=600)
    async with start_process(state_dir) as (process, addresses):
        assert addresses.keys() == {"proxy", "ca_file", "control", "egresses", "socks"}
        async with client_of(addresses["proxy"], Path(addresses["ca_file"])) as client:
            url = await client.media_url(video)
            async with client.request(url) as response:
                content = await response.read()
            reset = video_id("media.reset", param=64)
            async with client.request(await client.media_url(reset)) as response:
                part, error = await receive_body(response)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 5)

    assert len(content) == expected_media(video, "h264_540p_480000").size
    assert (len(part), error is None) == (64 << 10, False)
    assert code == 0


async def test_restart_keeps_the_authority(tmp_path: Path) -> None:
    async with start_process(tmp_path) as (_, addresses):
        kept = tmp_path / "kept.pem"
        await asyncio.to_thread(shutil.copy, addresses["ca_file"], kept)
    async with (
        Standin(tmp_path) as standin,
        client_of(standin.proxy_url, kept) as client,
    ):
        assert (await client.item(video_id()))["id"] == video_id()


async def test_process_opens_a_proxy_for_every_egress(state_dir: Path) -> None:
    async with start_process(state_dir, "--egresses", "a,b") as (_, addresses):
        ca_file = Path(addresses["ca_file"])
        for name, url in addresses["egresses"].items():
            async with client_of(url, ca_file) as client:
                await client.item(video_id(serial=ord(name)))
        async with aiohttp.ClientSession(addresses["control"]) as session:
            counters = await (await session.get("/counters")).json()

    assert counters["egresses"] == {"a": {"page": 1}, "b": {"page": 1}}


async def test_two_instances_have_separate_counters(state_dir: Path) -> None:
    async with Standin(state_dir) as one, Standin(state_dir) as other:
        async with client_of(one.proxy_url, one.ca_file) as client:
            await client.item(video_id())

        assert one.counters.of(video_id()) == 1
        assert other.counters.of(video_id()) == 0
