"""Runs the sample: starts everything, publishes requests, shows progress, prints the results."""

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from rich.console import Console

from streams.cli.progress_bars import follow
from streams.cli.result_table import open_console, results_table
from streams.client import Client
from streams.settings import KafkaSettings
from streams.topics import REQUESTS
from tests.sample.requests import EXPECTED, bodies, result_ids
from tests.standin import Standin

RUN_DIR = Path(".run")
RESULT_SECONDS = 90
QUICK_RETRIES = json.dumps({"network.server": [2, 4]})
"""Backoffs in seconds instead of 5 and 30, so that the sample takes no half minute longer."""


async def main() -> int:
    """Run the sample; return exit status 0 when every request has its expected status."""
    console = open_console()
    started = time.monotonic()
    shutil.rmtree(RUN_DIR, ignore_errors=True)
    async with Standin(RUN_DIR / "standin") as standin:
        console.print("Starting Kafka and all stages (the first time, Kafka is fetched) ...")
        process = await start_clipmill(standin)
        try:
            assert process.stdout is not None
            line = await process.stdout.readline()
            if not line:
                return 1
            ready = json.loads(line)
            seconds = time.monotonic() - started
            console.print(
                f"Ready after {seconds:.1f} s: Kafka at {ready['bootstrap']}, "
                f"health and metrics at {ready['http']}"
            )
            results = await publish_and_follow(ready["bootstrap"], console)
        finally:
            process.terminate()
            await process.wait()
    console.print(results_table(results))
    console.print(
        f"Files are in {RUN_DIR / 'data' / 'files'}; "
        f"{len(results)} results after {time.monotonic() - started:.1f} s."
    )
    return report(results, console)


async def start_clipmill(standin: Standin) -> asyncio.subprocess.Process:
    """Start `clipmill up` with the stand-in as its egress."""
    variables = {
        "CLIPMILL_EGRESS__PROXY": standin.proxy_url,
        "CLIPMILL_EGRESS__CA_FILE": str(standin.ca_file),
        "CLIPMILL_RETRY__WAITS_SECONDS": QUICK_RETRIES,
        "CLIPMILL_LIMITS__DEFAULT_REQUESTS_PER_SECOND": "10000",
        "CLIPMILL_HTTP": "127.0.0.1:0",
        "CLIPMILL_LOG_LEVEL": "WARNING",
    }
    return await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "clipmill"),
        "up",
        "--data-dir",
        str(RUN_DIR / "data"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | variables,
    )


async def publish_and_follow(bootstrap: str, console: Console) -> list[dict[str, Any]]:
    """Publish the sample like any Kafka client; return the results in the order of arrival."""
    async with Client(KafkaSettings(bootstrap=bootstrap)) as client:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        try:
            for body in bodies():
                metadata = await producer.send_and_wait(REQUESTS.kafka_name(), body)
        finally:
            await producer.stop()
        garbage = f"requests-{metadata.partition}-{metadata.offset}-{metadata.timestamp}"
        return await follow(client, result_ids() | {garbage}, RESULT_SECONDS, console)


def report(results: list[dict[str, Any]], console: Console) -> int:
    """Print the requests with an unexpected status; return the exit status."""
    unexpected = [
        f"{result['request_id']} is {result['status']}"
        for result in results
        if result["status"] != expected_status(result["request_id"])
    ]
    if unexpected:
        console.print(f"[red]Not as it should be: {', '.join(unexpected)}[/]")
    return 1 if unexpected else 0


def expected_status(request_id: str) -> str:
    """Return the expected status of a request."""
    if request_id.startswith("requests-"):
        return "rejected"
    return EXPECTED.get(request_id, "completed")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
