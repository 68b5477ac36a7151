"""Signs and sends the requests of S3 that obstore has no call for: those without a body.

They are about lifecycle rules and open uploads. Signature Version 4:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
import os
import ssl
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

import msgspec

if TYPE_CHECKING:  # Needs obstore, an extra.
    from agents.storage.object_connection import ObjectStoreSettings

DEFAULT_REGION = "us-east-1"

ANSWER_BYTES_MAX = 4_000_000
"""More than 1,000 uploads, the most of one answer."""

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


class Login(msgspec.Struct, frozen=True):
    """An access key of S3."""

    key_id: str
    secret: str
    token: str | None = None

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Login | None":
        """Return the key of the usual variables, None without one."""
        key_id = variables.get("AWS_ACCESS_KEY_ID")
        secret = variables.get("AWS_SECRET_ACCESS_KEY")
        token = variables.get("AWS_SESSION_TOKEN") or None
        return cls(key_id, secret, token) if key_id and secret else None


def send(
    settings: "ObjectStoreSettings",
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


def _opener(settings: "ObjectStoreSettings") -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if settings.proxy is not None:
        proxies = dict.fromkeys(("http", "https"), settings.proxy)
        handlers.append(urllib.request.ProxyHandler(proxies))
    return urllib.request.build_opener(*handlers)


def signed_headers(
    method: str, url: str, login: Login, *, region: str, now: datetime
) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        method: of HTTP.
        url: escaped, with its query.
        login: key to sign with.
        region: of the bucket.
        now: in UTC.
    """
    parts = urlsplit(url)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY_DIGEST, "x-amz-date": moment}
    if login.token is not None:
        headers["x-amz-security-token"] = login.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    request = f"{method}\n{parts.path}\n{query}\n{lines}\n{names}\n{EMPTY_DIGEST}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{login.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{ALGORITHM}\n{moment}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={login.key_id}/{scope}"
    return headers | {
        "authorization": f"{ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    }
