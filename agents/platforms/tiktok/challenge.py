"""TikTok's proof-of-work page ("Please wait..."): what it asks, and how it is answered.

The page has four elements whose classes are values: ``cs`` (the challenge: JSON in base64 with the
seed ``v.a`` and the digest ``v.c``), ``wci`` (name of the cookie of the answer), and now and then
``rci`` and ``rs`` (name and value of a second cookie). The answer is the challenge with the number
as ``d``. TikTok's own script gives both cookies a second to live: an answer is for one request.
"""

import base64
import json
import re
from typing import Any

import msgspec
from yt_dlp.utils import extract_attributes

MARK = "Please wait..."

PAGE_CHARACTERS_MAX = 32_768
"""Challenge pages have 1,400 to 3,000 characters. Patterns of yt-dlp take time with the square of
what they look at, so that larger pages are not shown to them."""

_NAMES = frozenset({"cs", "wci", "rci", "rs"})
_TAG = re.compile(r"<[a-z]+\s[^<>]+>", re.IGNORECASE)


class Challenge(msgspec.Struct, frozen=True):
    """A challenge as its page has it.

    Attributes:
        task: the whole object, which is sent back with the answer.
        seed: what the number is hashed behind.
        digest: SHA-256 of both.
        cookie: name of the cookie of the answer.
        others: further cookies, by name.
    """

    task: dict[str, Any]
    seed: bytes
    digest: bytes
    cookie: str
    others: dict[str, str]

    def answer(self, number: int) -> str:
        """Return the value of the cookie that answers the challenge."""
        found = base64.b64encode(b"%d" % number).decode()
        text = json.dumps({**self.task, "d": found}, separators=(",", ":"))
        return base64.b64encode(text.encode()).decode()


def read_challenge(webpage: str) -> Challenge | None:
    """Return the challenge of a page in its usual form, None for every other page."""
    if len(webpage) > PAGE_CHARACTERS_MAX:
        return None
    values = _values(webpage)
    try:
        # The padding is left out; more than is needed does no harm.
        task = json.loads(base64.b64decode(f"{values['cs']}==="))
        seed, digest = (base64.b64decode(task["v"][name]) for name in ("a", "c"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not values.get("wci"):
        return None
    rci, rs = values.get("rci"), values.get("rs")
    return Challenge(task, seed, digest, values["wci"], {rci: rs} if rci and rs else {})


def _values(webpage: str) -> dict[str, str]:
    """Return the classes of the four elements; of each, the first one counts."""
    found: dict[str, str] = {}
    for tag in _TAG.findall(webpage):
        attributes = extract_attributes(tag)
        if attributes.get("id") in _NAMES:
            found.setdefault(attributes["id"], attributes.get("class") or "")
    return found
