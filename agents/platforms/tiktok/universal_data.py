"""TikTok's page data, of which only the post's own object is built.

A page holds some 300 KB of JSON (translations, settings of the site, the post), and the post is a
tenth of it. The rest is checked to be JSON and passed over, so that a page is understood here when
yt-dlp's way understands it, and as it does: whatever is not in the usual form is left to yt-dlp.
The one exception: an integer of more than 4,300 digits in what is passed over makes Python's
decoder fail and not this one.
"""

from typing import Any

import msgspec

DETAIL = "webapp.video-detail"

_MARK = 'id="__UNIVERSAL_DATA_FOR_REHYDRATION__"'
_TAG = "<script "
_END = "</script>"


class _Scope(msgspec.Struct, frozen=True, gc=False):
    detail: Any = msgspec.field(name=DETAIL)


class _Data(msgspec.Struct, frozen=True, gc=False):
    scope: _Scope = msgspec.field(name="__DEFAULT_SCOPE__")


_decoder = msgspec.json.Decoder(_Data)


def read_post_data(webpage: str) -> dict[str, Any] | None:
    """Return ``{DETAIL: …}`` of a page in its usual form, None for every other page.

    Usual is: the first script element that has the mark begins with it and contains one JSON
    object, without anything that only Python's decoder takes, in which `DETAIL` is where it
    belongs. Takes a time in proportion to the page, whatever it contains.
    """
    text = _script_text(webpage)
    if text is None:
        return None
    try:
        return {DETAIL: _decoder.decode(text).scope.detail}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _script_text(webpage: str) -> str | None:
    # yt-dlp takes the first element with the mark that an object follows, so nothing but the
    # first mark may be looked at.
    mark = webpage.find(_MARK)
    if mark < 0 or not webpage.endswith(_TAG, 0, mark):
        return None
    start = webpage.find(">", mark) + 1
    end = webpage.find(_END, start)
    return webpage[start:end] if start and end > 0 and webpage.startswith("{", start) else None
