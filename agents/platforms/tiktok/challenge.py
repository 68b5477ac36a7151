"""TikTok's proof-of-work challenge page ("Please wait..."): format, and encoding of the response.

The page has four elements whose classes are values: ``cs`` (the challenge: JSON in base64 with the
seed ``v.a`` and the digest ``v.c``), ``wci`` (name of the response cookie), and sometimes ``rci``
and ``rs`` (name and value of a second cookie). The response is the challenge with the nonce as
``d``. TikTok's own script sets both cookies with a TTL of 1 s: a response is for one request.
"""

import base64
import json
import re
from typing import Any

import msgspec
from yt_dlp.utils import extract_attributes

MARKER = "Please wait..."

PAGE_CHARACTERS_MAX = 32_768
"""Challenge pages have 1,400 to 3,000 characters. Larger pages are not passed to yt-dlp, whose
patterns take quadratic time."""

_NAMES = frozenset({"cs", "wci", "rci", "rs"})
_TAG = re.compile(r"<[a-z]+\s[^<>]+>", re.IGNORECASE)


class Challenge(msgspec.Struct, frozen=True):
    """A decoded challenge.

    Attributes:
        payload: the whole object, which is part of the response.
        seed: prefix of the nonce in the hash.
        digest: SHA-256 of seed and nonce.
        cookie: name of the response cookie.
        extra_cookies: further cookies, by name.
    """

    payload: dict[str, Any]
    seed: bytes
    digest: bytes
    cookie: str
    extra_cookies: dict[str, str]

    def cookie_value(self, nonce: int) -> str:
        """Return the value of the response cookie."""
        encoded = base64.b64encode(b"%d" % nonce).decode()
        text = json.dumps({**self.payload, "d": encoded}, separators=(",", ":"))
        return base64.b64encode(text.encode()).decode()


def read_challenge(webpage: str) -> Challenge | None:
    """Return the challenge of a page in the known form, None for every other page."""
    if len(webpage) > PAGE_CHARACTERS_MAX:
        return None
    values = _values(webpage)
    try:
        # The page omits the padding; b64decode ignores superfluous padding.
        payload = json.loads(base64.b64decode(f"{values['cs']}==="))
        seed, digest = (base64.b64decode(payload["v"][name]) for name in ("a", "c"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not values.get("wci"):
        return None
    rci, rs = values.get("rci"), values.get("rs")
    return Challenge(payload, seed, digest, values["wci"], {rci: rs} if rci and rs else {})


def _values(webpage: str) -> dict[str, str]:
    """Return the classes of the four elements by id; the first element of an id is used."""
    values: dict[str, str] = {}
    for tag in _TAG.findall(webpage):
        attributes = extract_attributes(tag)
        if attributes.get("id") in _NAMES:
            values.setdefault(attributes["id"], attributes.get("class") or "")
    return values
