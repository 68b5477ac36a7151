"""Downloads a stream in a process of its own, which a test kills.

``python -m tests.integration.killed_download FOLDER PROXY CA_FILE``
"""

import asyncio
import sys
from pathlib import Path

from agents.network.egress import Egress
from tests.integration.stream_site import StreamHarness, StreamSite, file_of, track


async def main(folder: str, proxy: str, ca_file: str) -> None:
    egress = Egress(proxy=proxy, ca_file=Path(ca_file))
    await StreamHarness(StreamSite(), Path(folder), egress).run(file_of(track()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
