"""Rows of many different videos, for measuring caches.

The stand-in's links are very similar. TikTok's real ones (recordings of 2025 and 2026) carry some
300 random characters per file; these get as many, otherwise compression would look too good.
"""

import random
import re
import string
from collections.abc import Iterator
from typing import Any

from agents.caching.row_codec import CachedExtraction
from schemas.video import Extraction
from tests.unit.agents.platforms.tiktok.extractions import extraction_of, raw_of

LETTERS = string.ascii_letters + string.digits
PARAMETERS = {"rc": 90, "bti": 28, "ft": 38, "btag": 9, "signature": 32}
"""Number of random characters of each link parameter."""

PATH_CHARACTERS = 32
WORDS = 12
END = 4e9


def extractions(count: int, seed: int = 1) -> Iterator[tuple[str, Extraction]]:
    """Yield videos by key, each with its own links, words and numbers."""
    rng, template = random.Random(seed), raw_of()
    for number in range(count):
        key = str(7_000_000_000_000_000_000 + number)
        yield f"tiktok:{key}", extraction_of(_variant(template, key, rng))


def entries(count: int) -> Iterator[tuple[str, CachedExtraction]]:
    """Yield the same videos as table entries with a far expiry."""
    for key, extraction in extractions(count):
        yield key, CachedExtraction(expires_at=END, extraction=extraction)


def _variant(template: dict[str, Any], key: str, rng: random.Random) -> dict[str, Any]:
    title = " ".join(_text(rng, rng.randint(2, 9)) for _ in range(WORDS))
    raw = {**template, "id": key, "title": title, "description": title}
    for name in ("uploader", "uploader_id", "channel", "channel_id"):
        raw[name] = _text(rng, 20)
    for name in ("view_count", "like_count", "repost_count", "comment_count", "timestamp"):
        raw[name] = rng.randrange(10**7)
    # Several hosts serve one file under the same path and parameters.
    links = {each["format_id"]: _link_parts(rng) for each in template["formats"]}
    raw["formats"] = [
        {**each, "url": _link(each["url"], links[each["format_id"]])}
        for each in template["formats"]
    ]
    return raw


def _link_parts(rng: random.Random) -> dict[str, str]:
    parts = {name: _text(rng, length) for name, length in PARAMETERS.items()}
    return {**parts, "path": _text(rng, PATH_CHARACTERS)}


def _link(url: str, parts: dict[str, str]) -> str:
    page, _, query = url.partition("?")
    fields = [field.partition("=")[::2] for field in query.split("&")]
    query_ = "&".join(f"{name}={parts.get(name, value)}" for name, value in fields)
    return re.sub(r"/[^/]*/?$", f"/{parts['path']}/?", page) + query_


def _text(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(LETTERS, k=length))
