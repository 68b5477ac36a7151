"""nginx in front of the console, which it publishes below a path."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.browser import program

START_SECONDS = 10.0

CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {path} {{
      proxy_pass {console}/;
      {settings}
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(directory: Path, console: str, path: str, settings: str) -> AsyncIterator[str]:
    """Publish a console below a path; yields the URL of the path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = directory / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(
            directory=directory, port=port, path=path, console=console, settings=settings
        )
    )
    command = (program("nginx"), "-e", str(directory / "error.log"), "-c", str(file))
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await _until_listening(port)
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        process.kill()
        await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
