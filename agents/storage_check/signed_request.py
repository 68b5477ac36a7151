"""Signs a request of S3 without a body (Signature Version 4), for what obstore has no call for.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

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
