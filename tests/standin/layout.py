"""The parts of a page that are equal for all posts, built once, in their real proportions.

Recorded video pages of 2025 and 2026 are 270 to 590 KB: of the JSON, 190 KB translations, 78 KB
context, 36 KB the video. The site writes ``/`` in its JSON as ``\\u002F``.
"""

import functools
import random
from typing import Any

import orjson

I18N_BYTES = 190_000
CONTEXT_BYTES = 78_000
DETAIL_FILLER_BYTES = 26_000
SHELL_BYTES = 45_000
SCRIPT_START = (
    b'<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{"__DEFAULT_SCOPE__":'
)
_WORDS = (
    *("video", "account", "follow", "share", "comment", "privacy", "settings", "report"),
    *("people", "music", "effect", "download", "notification", "message", "creator"),
    *("profile", "search", "community", "guideline", "policy", "language", "playlist"),
)


def dumps(value: Any) -> bytes:
    """JSON as the site encodes it."""
    return orjson.dumps(value).replace(b"/", b"\\u002F")


@functools.cache
def page_start(detail: str = "webapp.video-detail") -> bytes:
    """The page up to its main value, which is in the scope ``detail``."""
    scope = {
        "webapp.app-context": _context(),
        "webapp.biz-context": {"os": "linux", "isMobile": False, "domains": _domains()},
        "webapp.i18n-translation": _translations(),
        "seo.abtest": {"canonical": "https://www.tiktok.com/", "vidList": []},
    }
    return _shell_start() + SCRIPT_START + dumps(scope)[:-1] + b',"%s":' % detail.encode()


@functools.cache
def page_end() -> bytes:
    """The page after its main value."""
    return b"}}</script>" + _script_tags(SHELL_BYTES // 2) + b"</body></html>"


@functools.cache
def item_filler() -> bytes:
    """The end of an item, from the comma on: fields that no parser needs."""
    chooser = random.Random(4)
    words: list[dict[str, str]] = []
    while len(words) * 100 < DETAIL_FILLER_BYTES:
        words.append({"hintText": "Search: ", "word": _phrase(chooser), "scene": "feed_bar"})
    return b"," + dumps({"suggestedWords": words, "contents": [], "challenges": []})[1:]


@functools.cache
def other_page() -> bytes:
    """A page of the site without a post and without universal data."""
    body = b'<div id="app"></div>' + _script_tags(SHELL_BYTES)
    return _shell_start() + body + b"</body></html>"


def _shell_start() -> bytes:
    styles = b"".join(
        b".css-%08x-Div{display:flex;position:relative;margin:0 %dpx}" % (n * 2654435, n % 40)
        for n in range(SHELL_BYTES // 130)
    )
    return (
        b'<!DOCTYPE html><html lang="en-US"><head><meta charset="UTF-8"><title>TikTok - Make Your '
        b"Day</title><style>" + styles + b'</style></head><body><div id="app"></div>'
    )


def _script_tags(size: int) -> bytes:
    tag = b'<script defer src="https://lf16-tiktok-web.tiktokcdn-us.com/obj/webapp/%08x.js">'
    tags = (tag % (n * 40503) + b"</script>" for n in range(size // 95))
    return b"".join(tags)


def _translations() -> dict[str, Any]:
    chooser = random.Random(1)
    texts: dict[str, str] = {}
    size = 0
    while size < I18N_BYTES:
        key, text = f"webapp_{_phrase(chooser, '_')}_{len(texts)}", _phrase(chooser)
        texts[key] = text
        size += len(key) + len(text) + 6
    return {"lang": "en", "webapp-i18n": texts}


def _context() -> dict[str, Any]:
    chooser = random.Random(2)
    parameters: dict[str, Any] = {}
    size = 0
    while size < CONTEXT_BYTES:
        key = f"{_phrase(chooser, '_')}_{len(parameters)}"
        parameters[key] = {"vid": str(chooser.randrange(10**8)), "value": chooser.random() < 0.5}
        size += len(key) + 38
    return {"language": "en", "region": "US", "appId": 1233, "abTestVersion": parameters}


def _domains() -> dict[str, str]:
    return {"kind": "prod", "webcastAPI": "webcast.tiktok.com", "rootApi": "www.tiktok.com"}


def _phrase(chooser: random.Random, glue: str = " ") -> str:
    return glue.join(chooser.choices(_WORDS, k=4))
