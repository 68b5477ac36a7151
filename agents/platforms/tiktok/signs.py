"""How a failed extraction is recognised: small predicates over `EngineFailure`."""

import re
from collections.abc import Callable

from agents.engine.interface import EngineFailure

Sign = Callable[[EngineFailure], bool]


def either(*signs: Sign) -> Sign:
    """One of them."""
    return lambda failure: any(sign(failure) for sign in signs)


def both(first: Sign, second: Sign) -> Sign:
    """Both of them."""
    return lambda failure: first(failure) and second(failure)


def reason(*marks: str) -> Sign:
    """TikTok's own words in the page, such as ``item_privacy_authorization&status_deleted``."""

    def sign(failure: EngineFailure) -> bool:
        message = failure.facts.get("status_message", "").lower()
        return any(mark in message for mark in marks)

    return sign


def some_reason(failure: EngineFailure) -> bool:
    """TikTok gave a reason in words."""
    return bool(failure.facts.get("status_message", "").strip())


def page_code(*codes: int) -> Sign:
    """TikTok's ``statusCode`` in the page."""
    wanted = {str(code) for code in codes}
    return lambda failure: noted_code(failure) in wanted


def noted_code(failure: EngineFailure) -> str | None:
    """Return TikTok's ``statusCode``: noted by our extractor, or read from yt-dlp's words."""
    said = re.search(r"status code (-?[0-9]{1,9})", failure.message)
    return failure.facts.get("status_code") or (said[1] if said else None)


def says(*words: str) -> Sign:
    """Words of the extractor's message."""
    return lambda failure: any(word in failure.message for word in words)


def kind(*names: str) -> Sign:
    """Class names in the chain of exceptions."""
    wanted = frozenset(names)
    return lambda failure: not wanted.isdisjoint(failure.types)


def status(*statuses: int | range) -> Sign:
    """HTTP statuses."""
    ranges = [each if isinstance(each, range) else range(each, each + 1) for each in statuses]
    return lambda failure: any(failure.status in each for each in ranges)


def system(*numbers: int) -> Sign:
    """Numbers of the system, see `errno`."""
    return lambda failure: failure.errno in numbers


def curl(*codes: int) -> Sign:
    """Codes of libcurl: https://curl.se/libcurl/c/libcurl-errors.html."""
    return lambda failure: failure.curl_code in codes
