"""What operators did with dead letters: the records of the topic ``deadletters.marks``."""

from typing import Literal

import msgspec

from schemas.codec import Moment


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The newest act on one dead letter.

    Key: the letter's id, ``<partition>-<offset>-<milliseconds>``.

    Attributes:
        state: ``replaying`` is said before the record is put back, ``replayed`` after it;
            ``resolved`` means that nothing needs to be done any more.
        by: who did it.
        at: when.
        note: why, in words.
    """

    state: Literal["replaying", "replayed", "resolved"]
    by: str
    at: Moment
    note: str = ""
