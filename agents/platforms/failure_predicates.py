"""Predicates over `EngineFailure`, and the rows of failure tables that use them."""

from collections.abc import Callable

import msgspec

from agents.engine.interface import EngineFailure
from schemas.errors import ErrorCode

Predicate = Callable[[EngineFailure], bool]


def any_of(*predicates: Predicate) -> Predicate:
    return lambda failure: any(predicate(failure) for predicate in predicates)


def all_of(first: Predicate, second: Predicate) -> Predicate:
    return lambda failure: first(failure) and second(failure)


def message_contains(*words: str) -> Predicate:
    """Match any of the words in the extractor's message; case counts."""
    return lambda failure: any(word in failure.message for word in words)


def exception_type(*names: str) -> Predicate:
    """Match any of the class names anywhere in the chain of exceptions."""
    wanted = frozenset(names)
    return lambda failure: not wanted.isdisjoint(failure.types)


def http_status(*statuses: int | range) -> Predicate:
    ranges = [each if isinstance(each, range) else range(each, each + 1) for each in statuses]
    return lambda failure: any(failure.status in each for each in ranges)


def errno_is(*numbers: int) -> Predicate:
    """Match operating-system error numbers, see `errno`."""
    return lambda failure: failure.errno in numbers


def curl_code(*codes: int) -> Predicate:
    """Match error codes of libcurl: https://curl.se/libcurl/c/libcurl-errors.html."""
    return lambda failure: failure.curl_code in codes


def fact_is(name: str, *values: str) -> Predicate:
    """Match a fact that the extractor recorded about the page."""
    return lambda failure: failure.facts.get(name) in values


def fact_contains(name: str, *words: str) -> Predicate:
    """Match any of the words, which are in lower case, in a fact; its case does not count."""

    def predicate(failure: EngineFailure) -> bool:
        fact = failure.facts.get(name, "").lower()
        return any(word in fact for word in words)

    return predicate


class FailureRow(msgspec.Struct, frozen=True):
    """One row of a failure table: maps a kind of failure to an error code.

    Attributes:
        name: short name, reported in the details of the error.
        code: error code of the failure.
        predicate: recognises the failure.
        text: what happened to the video; completes "Video 1 of the platform: …".
    """

    name: str
    code: ErrorCode
    predicate: Predicate
    text: str
