"""How a failed extraction is recognised: small predicates over `EngineFailure`."""

from collections.abc import Callable

import msgspec

from agents.engine.interface import EngineFailure
from schemas.errors import ErrorCode

Predicate = Callable[[EngineFailure], bool]


def any_of(*signs: Predicate) -> Predicate:
    """One of them."""
    return lambda failure: any(sign(failure) for sign in signs)


def all_of(first: Predicate, second: Predicate) -> Predicate:
    """Both of them."""
    return lambda failure: first(failure) and second(failure)


def message_contains(*words: str) -> Predicate:
    """Words of the extractor's message."""
    return lambda failure: any(word in failure.message for word in words)


def exception_type(*names: str) -> Predicate:
    """Class names in the chain of exceptions."""
    wanted = frozenset(names)
    return lambda failure: not wanted.isdisjoint(failure.types)


def http_status(*statuses: int | range) -> Predicate:
    """HTTP statuses."""
    ranges = [each if isinstance(each, range) else range(each, each + 1) for each in statuses]
    return lambda failure: any(failure.status in each for each in ranges)


def errno_is(*numbers: int) -> Predicate:
    """Numbers of the system, see `errno`."""
    return lambda failure: failure.errno in numbers


def curl_code(*codes: int) -> Predicate:
    """Codes of libcurl: https://curl.se/libcurl/c/libcurl-errors.html."""
    return lambda failure: failure.curl_code in codes


class Row(msgspec.Struct, frozen=True):
    """A kind of failure.

    Attributes:
        name: short name, in the details of the error.
        code: what it means.
        sign: how it is recognised.
        text: what happened to the video; completes "Video 1 of the platform: …".
    """

    name: str
    code: ErrorCode
    sign: Predicate
    text: str
