"""Counts outcomes and tracks open requests; keeps nothing about finished ones."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soaking.load import SoakRequest
from streams.client import BATCH_FINISHED


@dataclass
class Outcomes:
    """Open requests and outcome counts of a soak.

    Attributes:
        open: kind and expected status of every request without an outcome, by its id.
        open_of: number of open requests by kind.
        requests: number of requests by kind.
        skipped: number of requests by kind that were not published: too many of the kind were open.
        counts: number of outcomes by kind and status.
        unexpected: number of unexpected outcomes by kind, status and error.
        duplicates: outcomes of requests that are finished, or are not ours.
    """

    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    open_of: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    duplicates: int = 0

    def expect(self, request: SoakRequest) -> bool:
        """Add an open request; False, without adding it, when too many of its kind are open."""
        if self.open_of[request.kind] >= request.open_max:
            self.skipped[request.kind] += 1
            return False
        for name, status in request.expected.items():
            self.open[name] = (request.kind, status)
        self.open_of[request.kind] += len(request.expected)
        self.requests[request.kind] += len(request.expected)
        return True

    def record(self, result: Mapping[str, Any]) -> None:
        """Record an outcome; batch summaries are ignored."""
        if result["status"] == BATCH_FINISHED:
            return
        found = self.open.pop(result["request_id"], None)
        if found is None:
            self.duplicates += 1
            return
        kind, expected = found
        self.open_of[kind] -= 1
        status = str(result["status"])
        self.counts[kind, status] += 1
        if status != expected:
            error = result.get("error") or {}
            self.unexpected[kind, status, str(error.get("error_type", ""))] += 1

    def lines(self) -> list[str]:
        """Return the lines of the report."""
        found = [
            f"  {kind:18} {count:6} requests   {self._outcomes_of(kind)}"
            for kind, count in self.requests.items()
        ]
        for kind, count in self.skipped.items():
            found.append(f"  not published: {count} of {kind}, too many were open")
        for (kind, status, error), count in self.unexpected.items():
            found.append(f"  not as expected: {count} of {kind} {status} {error}")
        total, missing = sum(self.requests.values()), len(self.open)
        found.append(f"  {total} in all, {missing} without an outcome, {self.duplicates} copies")
        return found

    def _outcomes_of(self, kind: str) -> str:
        return ", ".join(
            f"{n} {status}" for (name, status), n in self.counts.items() if name == kind
        )
