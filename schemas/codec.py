"""Bytes to messages and back: the one place where message bodies are encoded and decoded."""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class MalformedMessageError(ValueError):
    """A body is not the message that it should be.

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
    """Return the message as compact UTF-8 JSON."""
    return _encoder.encode(message)


def decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Return the body as a message of the given type.

    Raises:
        MalformedMessageError: it is not JSON, or not of this type.
    """
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise MalformedMessageError(*_split(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError("$", f"not JSON: {error}") from None
    except RecursionError:
        raise MalformedMessageError("$", "not JSON: nested too deeply") from None


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind)
    return _decoders[kind]


def _split(text: str) -> tuple[str, str]:
    """Split msgspec's ``reason - at `path```; a reason without a path is about the whole body."""
    reason, _, path = text.partition(" - at ")
    return path.strip("`").rpartition("`")[2] or "$", reason
