"""Operators' actions on dead letters: records of the topic ``deadletters.marks``."""

from typing import Literal

import msgspec

from schemas.codec import Moment


class DeadLetterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The latest action on one dead letter.

    Key: the dead letter's id, ``<partition>-<offset>-<milliseconds>``.

    Attributes:
        state: ``replayed`` is written in the transaction that replays the record; ``resolved``: no
            further action is needed.
        by: author of the action.
        at: time of the action.
        note: reason, as free text.
    """

    state: Literal["replayed", "resolved"]
    by: str
    at: Moment
    note: str = ""
