"""Records of the topic ``heartbeats``."""

import msgspec

from schemas.codec import Moment


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A record that every stage must consume, as proof of progress. Key: number of the partition.

    A stage acknowledges it by committing its offset, and does nothing else with it.

    Attributes:
        at: time of publication.
    """

    at: Moment
