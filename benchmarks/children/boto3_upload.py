"""Child: uploads files with boto3, with the same metadata. Runs in the peers' interpreter."""

from concurrent.futures import ThreadPoolExecutor

import boto3

from benchmarks.children.arguments import Uploads
from benchmarks.children.stopwatch import stopwatch

THREADS = 8
"""Files at once: the default of `storage.uploads`."""


def main(arguments: Uploads) -> None:
    client = boto3.client("s3", endpoint_url=arguments.endpoint, region_name="eu-central-1")
    attributes = {"ContentType": "video/mp4", "Metadata": {"sha256": arguments.sha256}}

    def upload(number: int) -> None:
        key = f"{arguments.prefix}/{number}.mp4"
        client.upload_file(arguments.path, arguments.bucket, key, ExtraArgs=attributes)

    with stopwatch(), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(upload, range(arguments.count)))


if __name__ == "__main__":
    main(Uploads.read())
