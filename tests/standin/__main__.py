"""Runs the stand-in as a process."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop

from tests.standin.server import Standin


async def run(state_dir: Path, port: int, control_port: int, egresses: list[str]) -> None:
    """Serve until SIGTERM or SIGINT; print the addresses as one JSON line."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    standin = Standin(state_dir, port=port, control_port=control_port, egresses=egresses)
    async with standin:
        addresses = {
            "proxy": standin.proxy_url,
            "ca_file": str(standin.ca_file.resolve()),
            "control": standin.control_url,
            "egresses": standin.egress_urls,
            "socks": standin.socks_url,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="keeps the CA")
    parser.add_argument("--port", type=int, default=0, help="of the proxy; 0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="of the control endpoint")
    parser.add_argument("--egresses", default="", help="further egresses, such as a,b")
    arguments = parser.parse_args()
    egresses = [name for name in arguments.egresses.split(",") if name]
    uvloop.run(run(arguments.state_dir, arguments.port, arguments.control_port, egresses))


if __name__ == "__main__":
    main()
