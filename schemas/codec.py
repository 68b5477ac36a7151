"""Codec of message bodies: the only place where they are encoded and decoded."""

from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from schemas.diagnosis import ViolationError, conform
from schemas.json_text import NotJsonError, parse, without_bom

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""Point in time with a zone, RFC 3339 in JSON."""


T = TypeVar("T")


class MalformedMessageError(ValueError):
    """A body is not a valid message of its type.

    Attributes:
        field: JSON path of the offending field, such as ``$.options.quality``.
        reason: what is wrong with it, in one sentence.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


_encoder = msgspec.json.Encoder()


def encode(message: Any) -> bytes:
    """Encode a message as compact UTF-8 JSON."""
    return _encoder.encode(message)


def decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode a body as a message of the given type.

    A byte-order mark is ignored, and an integer id is read as its digits.

    Raises:
        MalformedMessageError: the body is not JSON, or not of this type.
    """
    try:
        return _decoder(kind).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_tolerantly(bytes(body), kind)


def _decode_tolerantly(body: bytes, kind: type[T]) -> T:
    """Decode a body that the fast decoder rejected, or raise the exact violation."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decoder(kind).decode(without_bom(body))
    try:
        return _decoder(kind).decode(encode(conform(parse(body), kind)))
    except NotJsonError as error:
        raise MalformedMessageError("$", str(error)) from None
    except ViolationError as error:
        raise MalformedMessageError(error.path, error.reason) from None
    except RecursionError:
        raise MalformedMessageError("$", "not JSON: nested too deeply") from None
    except (msgspec.DecodeError, OverflowError) as error:
        raise MalformedMessageError("$", str(error)) from None


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind)
    return _decoders[kind]
