"""Compares clipmill with bare aiokafka, FastStream and Quix Streams on the same job, in one run.

The argument is an interpreter that has the peers' packages: `make bench-peers`.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import load_average
from benchmarks.pipeline import REFERENCE, running_clipmill, running_peer
from tests.pipeline_process import PipelineProcess

PEERS = (REFERENCE, "faststream_batches", "quix")
LOADS = ((200, 2_000), (500, 5_000), (2_000, 10_000), (0, 20_000))
ROUNDS = 2


async def main(python: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with PipelineProcess(Path(directory)) as pipeline:
            for number in range(ROUNDS):
                print(f"round {number + 1}; {load_average()}")
                async with running_clipmill(pipeline) as system:
                    await system.measure(LOADS)
                for name in PEERS:
                    async with running_peer(pipeline, name, python) as system:
                        await system.measure(LOADS)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
