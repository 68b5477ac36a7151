"""What is switched on right now, and which case a request gets."""

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
    """A case that is on until a time of the monotonic clock."""

    case: Case
    until: float


class Switches:
    """The stand-in's behaviour beyond what URLs carry.

    Args:
        clock: Monotonic seconds.

    Attributes:
        latency_seconds: Before the first byte of every answer.
        media_bytes_per_second: The pace of every media answer, or nothing for full speed.
        rate_limit: Of pages.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._on: dict[tuple[str, str, Surface], Switch] = {}
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
        """Play a scenario for one video, or for everything, until cleared or for a time.

        With an egress it is played to requests that come that way only. One switch holds per
        video, egress and surface; another of the same three replaces it. For a scenario of the
        surface ``connect``, ``video`` is a host name.

        Raises:
            ValueError: There is no such scenario.
        """
        case = Case(scenario_named(scenario), param, times, egress)
        self._on[video, egress, case.scenario.surface] = Switch(case, self._clock() + for_seconds)
        for key in [key for key in self._seen if _begins_anew(key, case, video)]:
            del self._seen[key]

    def clear(self, video: str | None = None, egress: str | None = None) -> None:
        """Switch off what is on for one video, for everything (``""``), or all there is.

        With an egress only what is on for that way, with ``""`` only what is on for all ways.
        """
        for key in [
            key for key in self._on if video in {None, key[0]} and egress in {None, key[1]}
        ]:
            del self._on[key]

    def reset(self) -> None:
        """Everything off, every pace normal, every first time ahead again."""
        self._on.clear()
        self._seen.clear()
        self.latency_seconds = 0.0
        self.media_bytes_per_second = None
        self.rate_limit.set()

    def peek(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """The case the next request on a surface will get."""
        case = self._wanted(surface, video, user, egress)
        return case if not case.times or self.uses(case, video) < case.times else ORDINARY

    def last(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """The case the latest counted request on a surface got, or the first one will get."""
        case = self._wanted(surface, video, user, egress)
        return case if not case.times or self.uses(case, video) <= case.times else ORDINARY

    def use(self, surface: Surface, video: str = "", user: str = "", egress: str = "") -> Case:
        """The case of a request on a surface, counted: past its times it is the ordinary one."""
        case = self._wanted(surface, video, user, egress)
        if case.scenario is not ORDINARY.scenario:
            self._seen[case.scenario.name, video, case.egress] += 1
        return self.last(surface, video, user, egress)

    def uses(self, case: Case, video: str) -> int:
        """How many counted requests of a video wanted a case."""
        return self._seen[case.scenario.name, video, case.egress]

    def _wanted(self, surface: Surface, video: str, user: str, egress: str) -> Case:
        carried = (case_of_user(user), case_of_id(video))
        for case in (*self._switched(surface, video, egress), *carried):
            if case is not None and case.scenario.surface == surface:
                return case
        return ORDINARY

    def _switched(self, surface: Surface, video: str, egress: str) -> Iterable[Case]:
        now = self._clock()
        for owner, way in itertools.product((video, ""), (egress, "")):
            switch = self._on.get((owner, way, surface))
            if switch is not None and now < switch.until:
                yield switch.case


def _begins_anew(seen: tuple[str, str, str], case: Case, video: str) -> bool:
    scenario, owner, egress = seen
    return scenario == case.scenario.name and video in {"", owner} and egress == case.egress
