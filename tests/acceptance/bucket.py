"""A pipeline with its files in S3, and what a client sees in the bucket."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from tests.acceptance.end_state import expected_digest
from tests.storage_servers import S3_LOGIN, StorageServer

BUCKET = "clips"
PART_BYTES = 5 * 2**20


def s3_settings(folder: Path, endpoint: str) -> dict[str, str]:
    """Return the variables of a pipeline whose prefix is the folder's name."""
    return {
        **S3_LOGIN,
        "CLIPMILL_STORAGE__URL": f"s3://{BUCKET}/{folder.name}",
        "CLIPMILL_STORAGE__ENDPOINT": endpoint,
        "CLIPMILL_STORAGE__REGION": "eu-central-1",
        "CLIPMILL_STORAGE__PART_BYTES": str(PART_BYTES),
        "CLIPMILL_STORAGE__SINGLE_PUT_BYTES": str(PART_BYTES),
        "CLIPMILL_DOWNLOAD__STORAGE_CHECK_SECONDS": "0.5",
        "CLIPMILL_RETRY__WAITS_SECONDS": json.dumps({"network.server": [2, 4]}),
        "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    }


class Bucket:
    """What a client sees below the prefix of a pipeline."""

    def __init__(self, server: StorageServer, folder: Path) -> None:
        self._url = f"s3://{BUCKET}/{folder.name}"
        key, secret = S3_LOGIN.values()
        self._store = S3Store(
            BUCKET,
            prefix=folder.name,
            config={
                "endpoint": server.endpoint,
                "region": "eu-central-1",
                "access_key_id": key,
                "secret_access_key": secret,
            },
            client_options={"allow_http": True},
        )

    async def keys(self) -> list[str]:
        listed = await obstore.list(self._store).collect_async()
        return sorted(each["path"] for each in listed)

    async def check_all(self, results: Iterable[bytes]) -> int:
        """Check the files of results, and that all objects are whole; return their number."""
        described = {
            file["uri"]: file for each in results for file in json.loads(each).get("files", ())
        }
        for file in described.values():
            await self.check(file)
        keys = [key for key in await self.keys() if not key.startswith(".")]
        for key in keys:
            content = bytes(await (await obstore.get_async(self._store, key)).bytes_async())
            assert hashlib.sha256(content).hexdigest() == expected_digest(key.rpartition("/")[2])
        return len(keys)

    async def check(self, file: dict[str, Any]) -> str:
        """Check that the file of a result is there as it is described; return its key."""
        key: str = file["uri"].removeprefix(f"{self._url}/")
        found = await obstore.get_async(self._store, key)
        content = bytes(await found.bytes_async())
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert found.attributes["sha256"] == file["sha256"]
        assert found.attributes["Content-Type"] == file["mime_type"]
        return key
