"""Prepares the embedded broker ahead of its first start, for an image or an offline machine.

`python -m streams.broker` fetches Kafka's jars and creates Java's AOT cache.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from streams.broker.aot_cache import aot_cache_path, creating_options
from streams.broker.broker import EmbeddedBroker
from streams.broker.config import Additions
from streams.broker.jars import default_cache_dir, ensure_jars

# Measured 6 s; the rest is for slow and busy machines.
_CREATION_SECONDS = 180.0


async def create_aot_cache(cache_dir: Path) -> Path:
    """Run a server for the time of its start, and keep what Java has learnt of it.

    Raises:
        JarError: the server's jars cannot be fetched, or were changed.
        BrokerError: the server does not start.
        TimeoutError: Java did not end.
    """
    cache = aot_cache_path(cache_dir, ensure_jars(cache_dir))
    if cache.is_file():
        return cache
    with TemporaryDirectory(dir=cache_dir, prefix="aot-") as folder:
        created = Path(folder) / cache.name
        additions = Additions(java_options=creating_options(created))
        async with EmbeddedBroker(
            Path(folder) / "kafka", cache_dir=cache_dir, additions=additions
        ) as broker:
            os.kill(broker.pid, signal.SIGTERM)
            async with asyncio.timeout(_CREATION_SECONDS):
                await broker.wait()
        created.replace(cache)
    return cache


def main() -> None:
    """Fill the cache and print where it is."""
    sys.stdout.write(f"{asyncio.run(create_aot_cache(default_cache_dir())).parent}\n")


if __name__ == "__main__":
    main()
