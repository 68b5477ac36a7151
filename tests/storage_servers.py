"""Real object stores for tests: SeaweedFS (S3) and Azurite (Azure).

SeaweedFS is a development dependency. Azurite is a program of npm, which only `make test-azure`
needs: it is found on the path or by the variable ``AZURITE_BLOB``. There is none for Google Cloud:
fake-gcs-server rejects uploads by the XML interface, which the client uses.
"""

import asyncio
import base64
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Self

import obstore
from obstore.exceptions import GenericError
from obstore.store import S3Store

START_SECONDS = 30.0

S3_LOGIN = {"AWS_ACCESS_KEY_ID": "clipmill", "AWS_SECRET_ACCESS_KEY": "a secret of the tests"}
READER_LOGIN = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "another secret"}
WRITER_LOGIN = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "a third secret"}

# Azurite's own login, as documented.
AZURE_LOGIN = {
    "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
    "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw==",
}
AZURE_VERSION = "2021-12-02"


class StorageServer:
    """A server process in a folder of its own.

    Attributes:
        endpoint: its URL.
        variables: the login of its client.
    """

    def __init__(
        self, command: tuple[str, ...], endpoint: str, log: Path, variables: Mapping[str, str]
    ) -> None:
        self.endpoint = endpoint
        self.variables = dict(variables)
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Self:
        """Start the server, also after a `stop`, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = await asyncio.to_thread(
                subprocess.Popen, self._command, stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await asyncio.to_thread(self._is_listening):
                    assert self._process.poll() is None, self._log.read_text()[-3000:]
                    await asyncio.sleep(0.05)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill the server, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_listening(self) -> bool:
        host, _, port = self.endpoint.removeprefix("http://").partition("/")[0].partition(":")
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in listeners:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in listeners]


def seaweedfs(folder: Path) -> StorageServer:
    """Return a SeaweedFS with S3 in a folder; it creates the buckets that its owner names."""
    master, volume, filer, s3, *grpc = free_ports(8)
    identities = [
        _identity("owner", S3_LOGIN, "Admin", "Read", "Write", "List", "Tagging"),
        _identity("reader", READER_LOGIN, "Read", "List"),
        _identity("writer", WRITER_LOGIN, "Read", "Write", "List"),
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    data = folder / "volumes"
    data.mkdir()
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "master.port.grpc": grpc[0],
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "volume.port": volume,
        "volume.port.grpc": grpc[1],
        "volume.max": 100,
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": grpc[2],
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": grpc[3],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": folder / "s3.sock",
        "s3.config": config,
    }
    command = (
        str(Path(sys.executable).parent / "weed"),
        f"-logdir={folder}",
        "server",
        *(f"-{name}={value}" for name, value in options.items()),
    )
    endpoint = f"http://127.0.0.1:{s3}"
    return StorageServer(command, endpoint, folder / "weed.log", S3_LOGIN)


def _identity(name: str, login: Mapping[str, str], *actions: str) -> dict[str, object]:
    key, secret = login.values()
    return {
        "name": name,
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": actions,
    }


def azurite(folder: Path) -> StorageServer:
    """Return an Azurite in a folder."""
    program = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
    assert program, "install azurite with npm, or set AZURITE_BLOB to its program azurite-blob"
    (port,) = free_ports(1)
    address = ("--blobHost", "127.0.0.1", "--blobPort", str(port))
    options = ("--location", str(folder), "--skipApiVersionCheck", "--disableTelemetry")
    command = (program, *address, *options)
    endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
    return StorageServer(command, endpoint, folder / "azurite.log", AZURE_LOGIN)


@asynccontextmanager
async def running(server: StorageServer) -> AsyncIterator[StorageServer]:
    """Run a server while the context lasts."""
    try:
        yield await server.start()
    finally:
        server.stop()


async def create_s3_bucket(server: StorageServer, name: str) -> None:
    """Create a bucket: SeaweedFS does when its owner writes to it."""
    key, secret = server.variables.values()
    store = S3Store(
        name,
        config={
            "endpoint": server.endpoint,
            "region": "eu-central-1",
            "access_key_id": key,
            "secret_access_key": secret,
        },
        client_options={"allow_http": True},
    )
    async with asyncio.timeout(START_SECONDS):
        # Its volumes may not be writable yet.
        while True:
            try:
                await obstore.put_async(store, "created", b"")
            except GenericError:
                await asyncio.sleep(0.2)
            else:
                break
    await obstore.delete_async(store, "created")


def create_azure_container(server: StorageServer, name: str) -> None:
    """Create a container by a request that is signed with the account's key."""
    account, key = server.variables.values()
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:{AZURE_VERSION}\n"
    resource = f"/{account}/{account}/{name}\nrestype:container"
    text = "PUT" + "\n" * 12 + headers + resource
    digest = hmac.digest(base64.b64decode(key), text.encode(), "sha256")
    request = urllib.request.Request(
        f"{server.endpoint}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": AZURE_VERSION,
            "Authorization": f"SharedKey {account}:{base64.b64encode(digest).decode()}",
        },
    )
    urllib.request.urlopen(request, timeout=10).close()
