"""Plan of a replay, what it selects, and its dry run, which publishes nothing."""

from collections import Counter
from dataclasses import dataclass, field

from streams.deadletters.dead_letter import DeadLetterSummary, Filter, refusal


@dataclass(slots=True)
class Totals:
    """Result of a replay.

    Attributes:
        replayed: number of dead letters published.
        skipped: counts of matching but not replayed dead letters, by reason.
        seen: ids of matching dead letters.
    """

    replayed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Options of a replay.

    Attributes:
        criteria: selects dead letters.
        force: include parked and resolved ones.
        limit: maximum number, None for all.
        by: name of the operator, for the marks.
    """

    criteria: Filter
    force: bool = False
    limit: int | None = None
    by: str = ""

    def is_exhausted(self, selected: int) -> bool:
        """Return whether so many dead letters are all that the limit permits."""
        return self.limit is not None and selected >= self.limit

    def selects(self, dead_letter: DeadLetterSummary, totals: Totals) -> bool:
        """Return whether to replay a dead letter; count it as seen, and as skipped if refused."""
        if not self.criteria.matches(dead_letter):
            return False
        totals.seen.add(dead_letter.id)
        reason = refusal(dead_letter, replays_max=self.criteria.replays_max, force=self.force)
        if reason is not None:
            totals.skipped[reason] += 1
        return reason is None


class DryRun:
    """Counts what a replay would publish; takes dead letters in the order of the replay.

    Attributes:
        totals: what the replay would return.
    """

    def __init__(self, plan: ReplayPlan) -> None:
        self._plan = plan
        self.totals = Totals()

    @property
    def is_complete(self) -> bool:
        """Whether the replay would end here, by its limit."""
        return self._plan.is_exhausted(self.totals.replayed)

    def add(self, dead_letter: DeadLetterSummary) -> bool:
        """Return whether the replay would publish a dead letter."""
        is_selected = self._plan.selects(dead_letter, self.totals)
        self.totals.replayed += is_selected
        return is_selected
