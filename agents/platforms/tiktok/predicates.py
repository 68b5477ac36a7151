"""Predicates over the status code and message with which TikTok's page withholds a post."""

import re

from agents.engine.interface import EngineFailure
from agents.platforms.failure_predicates import Predicate


def status_message_contains(*words: str) -> Predicate:
    """Match any of the words in TikTok's ``statusMsg``.

    An example of a message is ``item_privacy_authorization&status_deleted``.
    """

    def predicate(failure: EngineFailure) -> bool:
        message = failure.facts.get("status_message", "").lower()
        return any(word in message for word in words)

    return predicate


def has_status_message(failure: EngineFailure) -> bool:
    return bool(failure.facts.get("status_message", "").strip())


def fact_is(name: str, *values: str) -> Predicate:
    """Match a fact that our extractor recorded about the page."""
    return lambda failure: failure.facts.get(name) in values


def status_code_is(*codes: int) -> Predicate:
    """Match TikTok's ``statusCode``."""
    wanted = {str(code) for code in codes}
    return lambda failure: recorded_status_code(failure) in wanted


def recorded_status_code(failure: EngineFailure) -> str | None:
    """Return TikTok's ``statusCode``, recorded by our extractor or parsed from yt-dlp's message."""
    match = re.search(r"status code (-?[0-9]{1,9})", failure.message)
    return failure.facts.get("status_code") or (match[1] if match else None)
