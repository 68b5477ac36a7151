"""Connects to an object store: Amazon S3 and compatible services, Google Cloud, Azure.

The only importer of obstore's stores. Credentials are those that the clouds' own clients find: in
the environment, mounted tokens of containers, the metadata service of the machine. None is a
setting of clipmill, so none is in a configuration file, a log or a result.
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from obstore import sign_async
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from schemas.errors import ClipmillError, ErrorCode

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

RETRIES_MAX = 2
"""Retries of one request, for dropped connections. Outages are waited for by the storage guard."""

RETRY_SECONDS = 10.0
"""No retry later than this after the first attempt; obstore's 180 s would hide outages."""

FIRST_BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 2.0

STORES = {
    "s3": (S3Store, "endpoint"),
    "gs": (GCSStore, "base_url"),
    "az": (AzureStore, "endpoint"),
}
"""Store, and its name of the setting ``endpoint``, by scheme of the URL."""


class ObjectStoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An object store and the limits of its requests.

    Attributes:
        url: ``s3://BUCKET/PREFIX``, ``gs://…``, or ``az://CONTAINER/PREFIX``.
        endpoint: URL of the service; None for the cloud's own.
        region: of the bucket, for S3.
        ca_file: PEM file of additional root certificates.
        proxy: URL of an HTTP proxy.
        connect_seconds: timeout of connecting.
        request_seconds: timeout of one request, such as the upload of one part.
        part_bytes: size of the parts of a large file.
        parallel_parts: parts of one file that are uploaded at once.
        single_put_bytes: size up to which a file is uploaded by one request.
        uploads: files that are uploaded at once.
        memory_bytes: of the files and parts that are uploaded at once; one upload may take more.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    connect_seconds: float = 5.0
    request_seconds: float = 120.0
    part_bytes: int = 8 * 2**20
    parallel_parts: int = 2
    single_put_bytes: int = 16 * 2**20
    uploads: int = 8
    memory_bytes: int = 64 * 2**20


def connect(settings: ObjectStoreSettings) -> ObjectStore:
    """Return a client of the store; nothing is sent yet.

    Raises:
        ClipmillError: ``system.config``; the settings cannot be used.
    """
    parts = urlsplit(settings.url)
    kind, endpoint_name = STORES[parts.scheme]
    config: dict[str, Any] = {}
    if settings.endpoint is not None:
        config[endpoint_name] = settings.endpoint
    if settings.region is not None and kind is S3Store:
        config["region"] = settings.region
    store: Any = kind
    try:
        client: ObjectStore = store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=config,
            client_options=_client_options(settings),
            retry_config=_retry_config(),
        )
    except (BaseError, ValueError, TypeError) as error:
        # obstore's own text may quote the value of a variable, such as a service account's key.
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"no client of {settings.url} can be made ({type(error).__name__}); check the storage"
            " settings and the cloud's variables in the environment",
        ) from None
    return client


async def sign_get(settings: ObjectStoreSettings, key: str, life: timedelta) -> str:
    """Return a URL that anybody can read an object with for a time.

    Raises:
        ClipmillError: ``system.config``; see `connect`.
        obstore.exceptions.BaseError: no credentials were found.
    """
    store: Any = connect(settings)
    link: str = await sign_async(store, "GET", key, life)
    return link


def _client_options(settings: ObjectStoreSettings) -> "ClientConfig":
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=settings.connect_seconds),
        "timeout": timedelta(seconds=settings.request_seconds),
        "allow_http": (settings.endpoint or "").startswith("http://"),
    }
    if settings.proxy is not None:
        options["proxy_url"] = settings.proxy
    if settings.ca_file is not None:
        options["root_certificate"] = _read(settings.ca_file)
    return options


def _read(ca_file: Path) -> bytes:
    try:
        return ca_file.read_bytes()
    except OSError as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"storage.ca_file {ca_file} cannot be read: {error.strerror}",
        ) from error


def _retry_config() -> "RetryConfig":
    return {
        "max_retries": RETRIES_MAX,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {
            "init_backoff": timedelta(seconds=FIRST_BACKOFF_SECONDS),
            "max_backoff": timedelta(seconds=BACKOFF_SECONDS_MAX),
            "base": 2,
        },
    }
