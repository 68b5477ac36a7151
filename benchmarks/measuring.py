"""Runs benchmark children as processes beside a stand-in process."""

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

from agents.network.egress import write_ca_bundle
from benchmarks.children.arguments import Download, Downloads, Extractions
from benchmarks.children.stopwatch import Usage, cpu_seconds

START_SECONDS = 20.0
CHILD_SECONDS = 60.0


@dataclass(frozen=True)
class Environment:
    """The environment of a benchmark's children.

    Attributes:
        directory: temporary.
        proxy: URL of the stand-in's proxy.
        ca_file: the stand-in's root certificate.
        ca_bundle: the same with the usual roots.
        process: of the stand-in.
    """

    directory: Path
    proxy: str
    ca_file: str
    ca_bundle: str
    process: psutil.Process

    def standin_cpu_seconds(self) -> float:
        """Return the CPU time that the stand-in has used."""
        return cpu_seconds(self.process)

    async def measure(
        self,
        child: str,
        arguments: Extractions | Download | Downloads,
        kind: type[Usage] = Usage,
        seconds: float = CHILD_SECONDS,
    ) -> Usage:
        """Run a module of `benchmarks.children` and return its resource usage.

        Args:
            child: the module.
            arguments: of the child.
            kind: type of the child's report: `Usage`, or a subclass with more fields.
            seconds: timeout.

        Raises:
            RuntimeError: the child failed; it shares our standard error.
            TimeoutError: the child did not finish in time.
        """
        command = [sys.executable, "-m", f"benchmarks.children.{child}"]
        async with _running(*command, **self._variables()) as process:
            async with asyncio.timeout(seconds):
                out, _ = await process.communicate(json.dumps(asdict(arguments)).encode())
        if process.returncode:
            raise RuntimeError(f"{child} failed with status {process.returncode}")
        return kind(**json.loads(out))

    def _variables(self) -> dict[str, str]:
        # These variables select the trusted roots of yt-dlp's three HTTP libraries.
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        trust = dict.fromkeys(names, self.ca_bundle)
        return {**trust, "XDG_CACHE_HOME": str(self.directory / "cache")}


@asynccontextmanager
async def open_environment(directory: Path) -> AsyncIterator[Environment]:
    """Run a stand-in while the context lasts."""
    command = [sys.executable, "-m", "tests.standin", "--state-dir", str(directory / "standin")]
    async with _running(*command) as process:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            ready = json.loads(await process.stdout.readline())
        bundle = write_ca_bundle(Path(ready["ca_file"]), directory / "bundle.pem")
        standin = psutil.Process(process.pid)
        yield Environment(directory, ready["proxy"], ready["ca_file"], str(bundle), standin)


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
        # Drains the pipes, so that they close.
        await process.communicate()


class Named(Protocol):
    """A measured variant."""

    @property
    def name(self) -> str: ...


Variant = TypeVar("Variant", bound=Named)
AnyUsage = TypeVar("AnyUsage", bound=Usage)


async def in_rounds(
    variants: Sequence[Variant], run: Callable[[Variant], Awaitable[AnyUsage]], rounds: int
) -> dict[str, AnyUsage]:
    """Return the median usage of each variant.

    The variants take turns, so that other load on the machine affects all of them.
    """
    found: dict[str, list[AnyUsage]] = {variant.name: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            found[variant.name].append(await run(variant))
    return {name: median(usages) for name, usages in found.items()}


def median(usages: Sequence[AnyUsage]) -> AnyUsage:
    """Return the median of each field separately."""
    columns = zip(*map(astuple, usages), strict=True)
    return type(usages[0])(*(statistics.median_low(column) for column in columns))


def load_average() -> str:
    """Return the machine's load average, to be printed beside figures."""
    one, five, _ = os.getloadavg()
    return f"load average {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} cores"
