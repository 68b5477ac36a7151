"""Which requests are open, and how many had which outcome; keeps nothing of those that are done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soaking.load import Asked
from streams.client import BATCH_FINISHED


@dataclass
class Outcomes:
    """The books of a soak.

    Attributes:
        open: kind and status expected of every request without an outcome, by its id.
        asked: requests by kind.
        counts: outcomes by kind and status.
        unexpected: outcomes that are not as expected, by kind, status and error.
        copies: outcomes of requests that had theirs, or are not ours.
    """

    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    copies: int = 0

    def expect(self, asked: Asked) -> None:
        """Note a request that is made now."""
        for name, status in asked.expects.items():
            self.open[name] = (asked.kind, status)
            self.asked[asked.kind] += 1

    def take(self, result: Mapping[str, Any]) -> None:
        """Note an outcome; the summary of a batch is none."""
        if result["status"] == BATCH_FINISHED:
            return
        found = self.open.pop(result["request_id"], None)
        if found is None:
            self.copies += 1
            return
        kind, expected = found
        status = str(result["status"])
        self.counts[kind, status] += 1
        if status != expected:
            error = result.get("error") or {}
            self.unexpected[kind, status, str(error.get("error_type", ""))] += 1

    def lines(self) -> list[str]:
        """Return the report."""
        found = [
            f"  {kind:18} {count:6} asked   {self._outcomes_of(kind)}"
            for kind, count in self.asked.items()
        ]
        for (kind, status, error), count in self.unexpected.items():
            found.append(f"  not as expected: {count} of {kind} {status} {error}")
        total, missing = sum(self.asked.values()), len(self.open)
        found.append(f"  {total} in all, {missing} without an outcome, {self.copies} copies")
        return found

    def _outcomes_of(self, kind: str) -> str:
        return ", ".join(
            f"{n} {status}" for (name, status), n in self.counts.items() if name == kind
        )
