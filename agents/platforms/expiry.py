"""When signed media links end, as far as the links themselves tell."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from schemas.video import MediaSource

_EPOCH = re.compile(r"[0-9]{9,11}", re.ASCII)
_EPOCH_PARAMETERS = ("expire", "expires", "x-expires")
"""Epoch seconds: CDNs of many kinds, CloudFront and Google Cloud (V2) among them."""

_MAX_SECONDS = 7 * 86_400
"""Of a link signed for S3 (AWS Signature Version 4): no longer is allowed."""


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link stops working, None when no link tells."""
    return min((told for source in sources if (told := _expiry(source.url))), default=None)


def _expiry(url: str) -> float | None:
    told = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    for name in _EPOCH_PARAMETERS:
        if _EPOCH.fullmatch(told.get(name, "")):
            return float(told[name])
    return _signed(told, "x-amz") or _signed(told, "x-goog")


def _signed(told: Mapping[str, str], vendor: str) -> float | None:
    """Return the end of a link that tells when it was signed, and for how many seconds."""
    life = told.get(f"{vendor}-expires", "")
    try:
        start = datetime.strptime(told.get(f"{vendor}-date", ""), "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", life, re.ASCII) or int(life) > _MAX_SECONDS:
        return None
    return start.timestamp() + int(life)
