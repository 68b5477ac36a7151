"""Partial decoder of TikTok's page data: only the post's own object is built.

A page holds some 300 KB of JSON (translations, settings of the site, the post), and the post is a
tenth of it. The rest is validated as JSON and skipped, so that a page decodes here only if it does
in yt-dlp, with the same result; a page that is not in the known form is left to yt-dlp. The one
exception: an integer of more than 4,300 digits in the skipped part makes Python's decoder fail and
not this one.
"""

from typing import Any

import msgspec

DETAIL = "webapp.video-detail"

_MARKER = 'id="__UNIVERSAL_DATA_FOR_REHYDRATION__"'
_TAG = "<script "
_END = "</script>"


class _Scope(msgspec.Struct, frozen=True, gc=False):
    detail: Any = msgspec.field(name=DETAIL)


class _Data(msgspec.Struct, frozen=True, gc=False):
    scope: _Scope = msgspec.field(name="__DEFAULT_SCOPE__")


_decoder = msgspec.json.Decoder(_Data)


def read_post_data(webpage: str) -> dict[str, Any] | None:
    """Return ``{DETAIL: …}`` of a page in the known form, None for every other page.

    The known form: the first script element that has the marker begins with it and contains one
    JSON object with `DETAIL` in its place, and nothing that only Python's decoder accepts. Takes
    linear time in the size of the page, whatever it contains.
    """
    text = _script_text(webpage)
    if text is None:
        return None
    try:
        return {DETAIL: _decoder.decode(text).scope.detail}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _script_text(webpage: str) -> str | None:
    # yt-dlp uses the first element with the marker that an object follows, so only the first marker
    # may be examined here.
    marker = webpage.find(_MARKER)
    if marker < 0 or not webpage.endswith(_TAG, 0, marker):
        return None
    start = webpage.find(">", marker) + 1
    end = webpage.find(_END, start)
    return webpage[start:end] if start and end > 0 and webpage.startswith("{", start) else None
