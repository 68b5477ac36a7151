"""Filter of dead letters for list and replay."""

from datetime import datetime

import msgspec

from streams.deadletters.dead_letter import DeadLetterRecord, State


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conjunction of criteria; an empty one matches everything.

    Attributes:
        ids: dead-letter ids.
        codes: error codes or code families: ``network`` matches ``network.timeout`` too.
        platform: name of the platform.
        step: the stage that failed.
        since: lower bound of the failure time, inclusive.
        until: upper bound of the failure time, inclusive.
        engine: version of yt-dlp.
        state: replay state.
        replays_max: failed replays after which a dead letter counts as parked.
    """

    ids: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()
    platform: str | None = None
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    engine: str | None = None
    state: State | None = None
    replays_max: int = 1

    def matches(self, dead_letter: DeadLetterRecord) -> bool:
        metadata = dead_letter.metadata
        criteria = (
            (self.platform, metadata.platform),
            (self.step, metadata.step),
            (self.engine, metadata.engine),
            (self.state, dead_letter.state(self.replays_max)),
        )
        return (
            (not self.ids or dead_letter.id in self.ids)
            and (not self.codes or any(_is_of(metadata.code, code) for code in self.codes))
            and all(expected is None or expected == found for expected, found in criteria)
            and (self.since is None or self.since <= metadata.failed_at)
            and (self.until is None or metadata.failed_at <= self.until)
        )


def _is_of(code: str, family: str) -> bool:
    return code == family or code.startswith(f"{family}.")
