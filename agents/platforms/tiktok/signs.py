"""What TikTok itself says of a video that it does not show, as predicates over `EngineFailure`."""

import re

from agents.engine.interface import EngineFailure
from agents.platforms.failure_predicates import Predicate


def reason(*marks: str) -> Predicate:
    """TikTok's own words in the page, such as ``item_privacy_authorization&status_deleted``."""

    def sign(failure: EngineFailure) -> bool:
        message = failure.facts.get("status_message", "").lower()
        return any(mark in message for mark in marks)

    return sign


def some_reason(failure: EngineFailure) -> bool:
    """TikTok gave a reason in words."""
    return bool(failure.facts.get("status_message", "").strip())


def fact(name: str, *values: str) -> Predicate:
    """What our extractor noted about the page."""
    return lambda failure: failure.facts.get(name) in values


def page_code(*codes: int) -> Predicate:
    """TikTok's ``statusCode`` in the page."""
    wanted = {str(code) for code in codes}
    return lambda failure: noted_code(failure) in wanted


def noted_code(failure: EngineFailure) -> str | None:
    """Return TikTok's ``statusCode``: noted by our extractor, or read from yt-dlp's words."""
    said = re.search(r"status code (-?[0-9]{1,9})", failure.message)
    return failure.facts.get("status_code") or (said[1] if said else None)
