"""Sends the requests of S3 that obstore has no call for: of lifecycle rules and open uploads."""

import os
import ssl
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check.signed_request import Login, signed_headers

DEFAULT_REGION = "us-east-1"

ANSWER_BYTES_MAX = 4_000_000
"""More than 1,000 uploads, the most of one answer."""


def send(
    settings: ObjectStoreSettings,
    login: Login,
    method: str,
    *,
    key: str = "",
    query: Mapping[str, str],
) -> bytes:
    """Send a request to the bucket, or to an object of it, and return the answer's body.

    Raises:
        OSError: the store cannot be reached, or refuses (`urllib.error.HTTPError`).
    """
    region = settings.region or os.environ.get("AWS_REGION") or DEFAULT_REGION
    endpoint = settings.endpoint or f"https://s3.{region}.amazonaws.com"
    path = quote("/".join(filter(None, (urlsplit(settings.url).netloc, key))))
    url = f"{endpoint.rstrip('/')}/{path}?{urlencode(query, quote_via=quote, safe='')}"
    headers = signed_headers(method, url, login, region=region, now=datetime.now(UTC))
    # The endpoint is an HTTP URL by the settings.
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310
    with _opener(settings).open(request, timeout=settings.connect_seconds) as answer:
        return bytes(answer.read(ANSWER_BYTES_MAX))


def parse(answer: bytes) -> ET.Element:
    """Return the root element of an answer.

    Raises:
        ValueError: it is no XML, or has a document type, whose entities could grow without bound.
    """
    if b"<!" in answer:
        raise ValueError("unexpected XML")
    try:
        return ET.fromstring(answer)  # noqa: S314 - without a document type
    except ET.ParseError as error:
        raise ValueError("no XML") from error


def _opener(settings: ObjectStoreSettings) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if settings.proxy is not None:
        proxies = dict.fromkeys(("http", "https"), settings.proxy)
        handlers.append(urllib.request.ProxyHandler(proxies))
    return urllib.request.build_opener(*handlers)
