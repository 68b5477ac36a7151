"""The stand-in as a process, and what is measured as processes beside it."""

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

from agents.network.trust import write_ca_bundle
from benchmarks.children.orders import Download, Downloads, Extractions
from benchmarks.children.stopwatch import Usage, cpu_seconds

START_SECONDS = 20.0
CHILD_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """Where the measurements take place.

    Attributes:
        directory: for anything; it is gone at the end.
        proxy: the stand-in's URL.
        ca_file: the stand-in's root.
        ca_bundle: the same with the usual roots.
        process: the stand-in's.
    """

    directory: Path
    proxy: str
    ca_file: str
    ca_bundle: str
    process: psutil.Process

    def standin_cpu_seconds(self) -> float:
        """Return the processor time that the stand-in has used."""
        return cpu_seconds(self.process)

    async def measure(
        self,
        child: str,
        order: Extractions | Download | Downloads,
        kind: type[Usage] = Usage,
        seconds: float = CHILD_SECONDS,
    ) -> Usage:
        """Give a module of `benchmarks.children` its order and return what it used.

        Args:
            child: the module.
            order: what it is to do.
            kind: what it tells; a `Usage` with more fields, if it tells more.
            seconds: how long it may take.

        Raises:
            RuntimeError: it failed; its standard error, which is ours, says why.
            TimeoutError: it was not done after so many seconds.
        """
        command = [sys.executable, "-m", f"benchmarks.children.{child}"]
        async with _running(*command, **self._variables()) as process:
            async with asyncio.timeout(seconds):
                out, _ = await process.communicate(json.dumps(asdict(order)).encode())
        if process.returncode:
            raise RuntimeError(f"{child} failed with status {process.returncode}")
        return kind(**json.loads(out))

    def _variables(self) -> dict[str, str]:
        # How the trusted roots of yt-dlp's three HTTP libraries are chosen.
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        trust = dict.fromkeys(names, self.ca_bundle)
        return {**trust, "XDG_CACHE_HOME": str(self.directory / "cache")}


@asynccontextmanager
async def open_place(directory: Path) -> AsyncIterator[Place]:
    """Start a stand-in; it ends with the block."""
    command = [sys.executable, "-m", "tests.standin", "--state-dir", str(directory / "standin")]
    async with _running(*command) as process:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            ready = json.loads(await process.stdout.readline())
        bundle = write_ca_bundle(Path(ready["ca_file"]), directory / "bundle.pem")
        standin = psutil.Process(process.pid)
        yield Place(directory, ready["proxy"], ready["ca_file"], str(bundle), standin)


@asynccontextmanager
async def _running(*command: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Takes what is left in the pipes, so that they close.
        await process.communicate()


class Named(Protocol):
    """Something that is measured."""

    @property
    def name(self) -> str: ...


Way = TypeVar("Way", bound=Named)


async def in_rounds(
    ways: Sequence[Way], run: Callable[[Way], Awaitable[Usage]], rounds: int
) -> dict[str, Usage]:
    """Return the median usage of each way.

    The ways take turns, so that what else happens on the machine falls on all of them.
    """
    found: dict[str, list[Usage]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way.name].append(await run(way))
    return {name: median(usages) for name, usages in found.items()}


def median(usages: Sequence[Usage]) -> Usage:
    """Return the median of each figure by itself."""
    columns = zip(*map(astuple, usages), strict=True)
    return type(usages[0])(*(statistics.median_low(column) for column in columns))


def load_average() -> str:
    """Return how busy the machine was: to be printed beside figures."""
    one, five, _ = os.getloadavg()
    return f"load average {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} cores"
