"""The records of the topic ``heartbeats``."""

import msgspec

from schemas.codec import Moment


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life that every stage has to give. Key: number of the partition.

    A stage gives it by committing the record; it does nothing else with it.

    Attributes:
        at: when it was published.
    """

    at: Moment
