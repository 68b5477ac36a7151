"""A real Redis for tests; like the embedded Kafka, its binary is distributed as a jar."""

import asyncio
import platform
import signal
import stat
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath

from streams.broker.jars import default_cache_dir, ensure_jars
from streams.broker.pinning import Jar

JAR = Jar(
    PurePosixPath("com/github/codemonstur/embedded-redis/1.4.3/embedded-redis-1.4.3.jar"),
    11_953_653,
    "ffbc63265c60d25dee453d6f656b527d98200d98657c6a0ab4dec4ea2c3a5cd6",
)

BINARIES = {
    ("linux", "x86_64"): "redis-server-6.2.6-v5-linux-amd64",
    ("linux", "aarch64"): "redis-server-6.2.7-linux-arm64",
    ("darwin", "x86_64"): "redis-server-6.2.6-v5-darwin-amd64",
    ("darwin", "arm64"): "redis-server-6.2.6-v5-darwin-arm64",
}

START_SECONDS = 10.0


def redis_binary(folder: Path) -> Path:
    """Unpack the server's binary into a folder and return its path; the jar is fetched once."""
    (jar,) = ensure_jars(default_cache_dir(), [JAR])
    with zipfile.ZipFile(jar) as archive:
        path = Path(archive.extract(BINARIES[sys.platform, platform.machine()], folder))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class RedisServer:
    """A server on a Unix socket in its folder, without persistence.

    Attributes:
        url: of the socket, without a password.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._socket = folder / "redis.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"unix://{self._socket}"

    async def start(self, *options: str) -> None:
        """Start the server and wait until it accepts connections."""
        address = (
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--dir",
            str(self._socket.parent),
        )
        command = (str(self._binary), *address, "--save", "", "--appendonly", "no", *options)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(START_SECONDS):
            while not await self._is_listening():
                assert self._process.returncode is None, "the server ended"
                await asyncio.sleep(0.01)

    async def _is_listening(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Kill the server, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None


@asynccontextmanager
async def running_redis(binary: Path, folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    """Run a server while the context lasts."""
    server = RedisServer(binary, folder)
    try:
        await server.start(*options)
        yield server
    finally:
        await server.stop()
