"""Which dead letters are meant."""

from datetime import datetime

import msgspec

from streams.deadletters.dead_letter import Letter, State


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter must be; what is left empty does not matter.

    Attributes:
        ids: one of these.
        codes: error codes, or their families: ``network`` stands for ``network.timeout`` too.
        platform: name of the platform.
        step: the stage that failed.
        since: not failed before.
        until: not failed after.
        engine: version of yt-dlp.
        state: what became of it.
        replays_max: how often one may fail before it is parked.
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

    def matches(self, letter: Letter) -> bool:
        """Return whether a letter is meant."""
        facts = letter.facts
        wanted = (
            (self.platform, facts.platform),
            (self.step, facts.step),
            (self.engine, facts.engine),
            (self.state, letter.state(self.replays_max)),
        )
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.codes or any(_is_of(facts.code, code) for code in self.codes))
            and all(want is None or want == found for want, found in wanted)
            and (self.since is None or self.since <= facts.failed_at)
            and (self.until is None or facts.failed_at <= self.until)
        )


def _is_of(code: str, family: str) -> bool:
    return code == family or code.startswith(f"{family}.")
