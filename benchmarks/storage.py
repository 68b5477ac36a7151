"""CPU time and memory of uploads to S3, compared with boto3 in one run.

The server is SeaweedFS on the same cores. The argument is an interpreter that has boto3.
"""

import asyncio
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.children.arguments import Uploads
from benchmarks.children.stopwatch import Usage
from benchmarks.measuring import in_rounds, load_average
from tests.storage_servers import S3_LOGIN, StorageServer, create_s3_bucket, running, seaweedfs

BUCKET = "clips"
ROUNDS = 3
BLOCK_BYTES = 2**20
CHILD_SECONDS = 120.0

_prefixes = itertools.count()


@dataclass(frozen=True)
class Load:
    """Files of one size, uploaded at once."""

    mebibytes: int
    count: int

    @property
    def megabytes(self) -> float:
        return self.mebibytes * self.count * 2**20 / 1e6


LOADS = (Load(1024, 1), Load(1, 400), Load(10, 100), Load(48, 8))
"""One large file; small files by one request each; files in parts, as many as are allowed."""


@dataclass(frozen=True)
class Variant:
    """A child module and its interpreter."""

    name: str
    child: str
    python: str


async def main(python: str) -> None:
    variants = (
        Variant("clipmill", "our_upload", sys.executable),
        Variant("boto3", "boto3_upload", python),
    )
    for load in LOADS:
        with tempfile.TemporaryDirectory() as name:
            found = await _measure(Path(name), load, variants)
        _print(load, found)
    print(load_average())


async def _measure(folder: Path, load: Load, variants: Sequence[Variant]) -> dict[str, Usage]:
    path, digest = folder / "file", hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(load.mebibytes):
            block = os.urandom(BLOCK_BYTES)
            digest.update(block)
            file.write(block)
    async with running(seaweedfs(folder)) as server:
        await create_s3_bucket(server, BUCKET)

        async def run(variant: Variant) -> Usage:
            return await _upload(variant, server, load, path, digest.hexdigest())

        return await in_rounds(variants, run, ROUNDS)


async def _upload(
    variant: Variant, server: StorageServer, load: Load, path: Path, sha256: str
) -> Usage:
    arguments = Uploads(
        endpoint=server.endpoint,
        bucket=BUCKET,
        prefix=f"p{next(_prefixes)}",
        directory=str(path.parent),
        path=str(path),
        sha256=sha256,
        count=load.count,
    )
    process = await asyncio.create_subprocess_exec(
        *(variant.python, "-m", f"benchmarks.children.{variant.child}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **S3_LOGIN},
    )
    async with asyncio.timeout(CHILD_SECONDS):
        out, _ = await process.communicate(json.dumps(asdict(arguments)).encode())
    if process.returncode:
        raise RuntimeError(f"{variant.child} failed with status {process.returncode}")
    return Usage(**json.loads(out))


def _print(load: Load, found: dict[str, Usage]) -> None:
    cpu = {name: usage.cpu_seconds / load.megabytes * 1e3 for name, usage in found.items()}
    print(f"{load.count} x {load.mebibytes} MiB")
    for name, usage in found.items():
        print(
            f"  {name:10}{load.megabytes / usage.seconds:7.0f} MB/s   {cpu[name]:6.2f} ms/MB"
            f"   {cpu[name] / cpu['boto3']:5.2f} of boto3   peak {usage.peak_bytes / 1e6:5.0f} MB"
            f"   {(usage.peak_bytes - usage.start_bytes) / 1e6:5.0f} MB above start"
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
