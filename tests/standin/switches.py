"""The active switches, and the case that a request gets."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.standin.ids import case_of_id, case_of_user
from tests.standin.rate_limit import RateLimit
from tests.standin.scenarios import ORDINARY, Case, Surface, scenario_named


@dataclass(frozen=True, slots=True)
class Switch:
    """A case that is active until a time of the monotonic clock."""

    case: Case
    until: float


class Switches:
    """The stand-in's behaviour beyond the cases encoded in URLs.

    Args:
        clock: Monotonic seconds.

    Attributes:
        latency_seconds: Before the first byte of every response.
        media_bytes_per_second: Rate of every media response, None for full speed.
        rate_limit: Of pages.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._active: dict[tuple[str, str, Surface], Switch] = {}
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self.latency_seconds = 0.0
        self.media_bytes_per_second: float | None = None
        self.rate_limit = RateLimit(clock)

    def set(
        self,
        scenario: str,
        *,
        param: int = 0,
        times: int = 0,
        video: str = "",
        egress: str = "",
        for_seconds: float = float("inf"),
    ) -> None:
        """Activate a scenario for one video or for all, until cleared or for a time.

        With an egress it applies to requests through that egress only. There is one switch per
        video, egress and surface; setting another one replaces it. For a scenario of the surface
        ``connect``, ``video`` is a host name.

        Raises:
            ValueError: There is no such scenario.
        """
        case = Case(scenario_named(scenario), param, times, egress)
        self._active[video, egress, case.scenario.surface] = Switch(
            case, self._clock() + for_seconds
        )
        for key in [key for key in self._seen if _is_reset_by(key, case, video)]:
            del self._seen[key]

    def clear(self, video: str | None = None, egress: str | None = None) -> None:
        """Clear the switches of one video, of all videos (``""``), or every switch (None).

        With an egress only the switches of that egress, with ``""`` only those of all egresses.
        """
        for key in [
            key for key in self._active if video in {None, key[0]} and egress in {None, key[1]}
        ]:
            del self._active[key]

    def reset(self) -> None:
        """Clear all switches, rates and use counts."""
        self._active.clear()
        self._seen.clear()
        self.latency_seconds = 0.0
        self.media_bytes_per_second = None
        self.rate_limit.set()

    def peek(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """The case that the next request on a surface will get."""
        case = self._selected(surface, video, user, egress)
        return case if not case.times or self.uses(case, video) < case.times else ORDINARY

    def last(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """The case of the latest counted request on a surface, or of the first one to come."""
        case = self._selected(surface, video, user, egress)
        return case if not case.times or self.uses(case, video) <= case.times else ORDINARY

    def use(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """Count a request on a surface and return its case: past its times the ordinary one."""
        case = self._selected(surface, video, user, egress)
        if case.scenario is not ORDINARY.scenario:
            self._seen[case.scenario.name, video, case.egress] += 1
        return self.last(surface, video, user, egress)

    def uses(self, case: Case, video: str) -> int:
        """The number of counted requests of a video for a case."""
        return self._seen[case.scenario.name, video, case.egress]

    def _selected(self, surface: Surface, video: str, user: str, egress: str) -> Case:
        carried = (case_of_user(user), case_of_id(video))
        for case in (*self._switched(surface, video, egress), *carried):
            if case is not None and case.scenario.surface == surface:
                return case
        return ORDINARY

    def _switched(self, surface: Surface, video: str, egress: str) -> Iterable[Case]:
        now = self._clock()
        for owner, egress_ in itertools.product((video, ""), (egress, "")):
            switch = self._active.get((owner, egress_, surface))
            if switch is not None and now < switch.until:
                yield switch.case


def _is_reset_by(seen: tuple[str, str, str], case: Case, video: str) -> bool:
    scenario, owner, egress = seen
    return scenario == case.scenario.name and video in {"", owner} and egress == case.egress
