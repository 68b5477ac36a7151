"""Prefetch for the embedded broker, to build an image or prepare an offline machine.

`python -m streams.broker` downloads Kafka's jars and creates Java's AOT cache.
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
    """Start and stop a server once, and keep the AOT cache that Java writes on exit.

    Raises:
        JarError: a jar cannot be downloaded, or fails verification.
        BrokerError: the server does not start.
        TimeoutError: Java did not exit.
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
    """Fill the cache directory and print its path."""
    sys.stdout.write(f"{asyncio.run(create_aot_cache(default_cache_dir())).parent}\n")


if __name__ == "__main__":
    main()
