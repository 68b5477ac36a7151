"""Reads the expiry time of signed media links from their query parameters."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from schemas.video import MediaSource

_EPOCH = re.compile(r"[0-9]{9,11}", re.ASCII)
_EPOCH_PARAMETERS = ("expire", "expires", "x-expires")
"""Epoch seconds; used by many CDNs, CloudFront and Google Cloud (V2) among them."""

_MAX_SECONDS = 7 * 86_400
"""Longest lifetime that AWS Signature Version 4 (S3) allows."""


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link expires, None when no link carries it."""
    return min((end for source in sources if (end := _expiry(source.url))), default=None)


def _expiry(url: str) -> float | None:
    parameters = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    for name in _EPOCH_PARAMETERS:
        if _EPOCH.fullmatch(parameters.get(name, "")):
            return float(parameters[name])
    return _signed_expiry(parameters, "x-amz") or _signed_expiry(parameters, "x-goog")


def _signed_expiry(parameters: Mapping[str, str], vendor: str) -> float | None:
    """Return signing date plus lifetime in seconds."""
    ttl = parameters.get(f"{vendor}-expires", "")
    try:
        start = datetime.strptime(parameters.get(f"{vendor}-date", ""), "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", ttl, re.ASCII) or int(ttl) > _MAX_SECONDS:
        return None
    return start.timestamp() + int(ttl)
