"""What the tables of failures are made of."""

import msgspec

from agents.platforms.failure_predicates import Sign
from schemas.errors import ErrorCode


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
    sign: Sign
    text: str
