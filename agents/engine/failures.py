"""Serialization of exception chains, redacted and bounded."""

import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from agents.engine.interface import EngineFailure

CHAIN_MAX = 10
MESSAGE_CHARACTERS_MAX = 1_000
HEADER_CHARACTERS_MAX = 64
FACTS_MAX = 16
FACT_CHARACTERS_MAX = 256

CURL_OUT_OF_MEMORY = 27
"""CURLE_OUT_OF_MEMORY, https://curl.se/libcurl/c/libcurl-errors.html."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/'\"<>]+@")
_QUERY = re.compile(r"[?#][^\s'\"<>)?#]*=[^\s'\"<>)]*")


def flatten(error: BaseException, facts: Mapping[str, str] | None = None) -> EngineFailure:
    """Return an exception and its causes as one plain record.

    Args:
        error: raised by the extractor.
        facts: recorded by the extractor before; see `agents.engine.extraction`.
    """
    chain = list(_chain(error))
    return EngineFailure(
        types=tuple(type(link).__name__ for link in chain),
        message=_message(chain),
        status=_first(chain, _status),
        retry_after=_first(chain, _retry_after),
        errno=_first(chain, _errno),
        curl_code=_first(chain, _curl_code),
        facts=truncate_facts(facts or {}),
    )


def is_out_of_memory(failure: EngineFailure) -> bool:
    """Return whether an allocation failed; another job of the process may be the cause."""
    return "MemoryError" in failure.types or failure.curl_code == CURL_OUT_OF_MEMORY


def truncate_facts(facts: Mapping[Any, Any]) -> dict[str, str]:
    """Return the first `FACTS_MAX` facts as redacted, truncated strings."""
    kept = list(facts.items())[:FACTS_MAX]
    return {_truncate(name): _truncate(value) for name, value in kept}


def redact_message(text: str) -> str:
    """Return the text without colour codes, credentials and query strings, truncated."""
    plain = _QUERY.sub("", _CREDENTIALS.sub("", _COLOUR.sub("", text)))
    return plain.strip()[:MESSAGE_CHARACTERS_MAX]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < CHAIN_MAX:
        seen.add(id(link))
        yield link
        link = _cause(link)


def _cause(error: BaseException) -> BaseException | None:
    # yt-dlp stores the cause in `cause`, and does not always raise with `from`.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return cause
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _message(chain: list[BaseException]) -> str:
    # yt-dlp's ExtractorError only: `orig_msg` lacks the appended request to report a bug.
    own: list[Any] = [link for link in chain if hasattr(link, "orig_msg")]
    # `expected`: the extractor recognized the failure, and its text says more than the cause's.
    recognized = (link for link in own if getattr(link, "expected", False))
    link = next(recognized, own[-1] if own else None)
    text = str(chain[0]) if link is None else str(link.orig_msg)
    return redact_message(text) or type(chain[0]).__name__


def _first(chain: list[BaseException], read: Any) -> Any:
    return next((found for link in chain if (found := read(link)) is not None), None)


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _retry_after(error: BaseException) -> str | None:
    response: Any = getattr(error, "response", None)
    if not hasattr(response, "get_header"):
        return None
    header = response.get_header("Retry-After")
    return None if header is None else str(header)[:HEADER_CHARACTERS_MAX]


def _errno(error: BaseException) -> int | None:
    # SSLError's `errno` is a number of OpenSSL.
    if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
        return None
    return error.errno if isinstance(error.errno, int) else None


def _curl_code(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    is_curl = type(error).__module__.startswith("curl_cffi")
    return int(code) if is_curl and isinstance(code, int) and code else None


def _truncate(value: Any) -> str:
    return redact_message(str(value))[:FACT_CHARACTERS_MAX]
