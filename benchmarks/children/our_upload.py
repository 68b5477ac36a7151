"""Child: publishes files into an object store."""

import asyncio
from pathlib import Path

import uvloop

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage.object_store import ObjectStorage
from benchmarks.children.arguments import Uploads
from benchmarks.children.stopwatch import stopwatch
from streams.memory.release import limit_arenas


async def main(arguments: Uploads) -> None:
    settings = ObjectStoreSettings(
        url=f"s3://{arguments.bucket}/{arguments.prefix}",
        endpoint=arguments.endpoint,
        region="eu-central-1",
    )
    async with ObjectStorage.open(settings, Path(arguments.directory)) as storage:

        async def publish(number: int) -> None:
            async with storage.workspace() as workspace:
                path = workspace / "media"
                path.hardlink_to(arguments.path)
                await storage.publish(
                    path,
                    platform="tiktok",
                    video_id=str(number),
                    format_id="play",
                    extension="mp4",
                    sha256=arguments.sha256,
                )

        with stopwatch():
            await asyncio.gather(*map(publish, range(arguments.count)))


if __name__ == "__main__":
    limit_arenas()  # as a worker does
    uvloop.run(main(Uploads.read()))
