"""Schedule of records: by rank, by capacity on the path, and in order within a key."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import Claim, TopicPath
from streams.priority_queue import AGEING, URGENT
from streams.runtime.schedule import Schedule, Scheduled
from streams.topics import AUDIT, EXTRACTED, VALIDATED


def schedule_of(*claims: Claim, keys: Sequence[bytes | None] | None = None) -> Schedule[int]:
    """Return a schedule of records 0, 1, 2 …"""
    schedule: Schedule[int] = Schedule()
    for item, claim in enumerate(claims):
        schedule.push(item, claim, keys[item] if keys else None)
    return schedule


def admit_all(_claim: Claim) -> bool:
    return True


def drain(schedule: Schedule[int]) -> list[int]:
    """Serve all records, each released before the next."""
    served = []
    while (held := schedule.pop(admit_all)) is not None:
        served.append(held.item)
        schedule.release(held.key)
    return served


def test_highest_rank_is_served_first_across_paths() -> None:
    schedule = schedule_of(Claim(1), Claim(5, (AUDIT,)), Claim(5, (VALIDATED,)), Claim(9))
    assert drain(schedule) == [3, 1, 2, 0]


def test_path_without_capacity_does_not_block_another() -> None:
    schedule = schedule_of(Claim(9, (EXTRACTED,)), Claim(1, (AUDIT,)), Claim(0, (EXTRACTED,)))
    assert (held := schedule.pop(lambda claim: EXTRACTED not in claim.path)) is not None
    assert held.item == 1
    assert schedule.pop(lambda claim: EXTRACTED not in claim.path) is None
    assert drain(schedule) == [0, 2]


def test_oldest_is_served_by_ageing_if_its_path_has_capacity() -> None:
    schedule = schedule_of(Claim(0, (AUDIT,)), *[Claim(9, (AUDIT,))] * 40, Claim(0, (VALIDATED,)))
    served = []
    while (held := schedule.pop(lambda claim: claim.rank >= 9)) is not None:
        served.append(held.item)
    assert served.index(0) == AGEING - 1
    assert 41 not in served, "its path has capacity for high ranks only, and none waits there"


def test_records_of_one_key_are_served_in_order_and_one_at_a_time() -> None:
    schedule = schedule_of(*[Claim(5)] * 3, keys=[b"a", b"a", b"b"])
    first, second = schedule.pop(admit_all), schedule.pop(admit_all)
    assert first is not None
    assert second is not None
    assert [first.item, second.item] == [0, 2]
    assert schedule.pop(admit_all) is None
    schedule.release(b"a")
    assert drain(schedule) == [1]


def test_first_record_of_a_key_inherits_the_highest_rank_of_the_key() -> None:
    schedule = schedule_of(Claim(5), Claim(0), Claim(9), keys=[b"x", b"a", b"a"])
    assert drain(schedule) == [1, 2, 0]


def test_inherited_rank_ends_with_its_source_record() -> None:
    schedule = schedule_of(*map(Claim, (0, 9, 0, 5)), keys=[b"a", b"a", b"a", b"x"])
    assert drain(schedule) == [0, 1, 3, 2]


def test_pushed_record_can_keep_an_earlier_arrival() -> None:
    schedule = schedule_of(*[Claim(5)] * 3)
    first = schedule.pop(admit_all)
    assert first is not None
    schedule.push(9, first.claim, arrival=first.arrival)
    assert drain(schedule) == [9, 1, 2]


@pytest.mark.parametrize("key", [None, b"k"])
@pytest.mark.parametrize("name", ["b/1", "b"])
def test_expedited_request_is_served_first_even_without_capacity(
    key: bytes | None, name: str
) -> None:
    schedule: Schedule[int] = Schedule()
    schedule.push(0, Claim(9, (AUDIT,), request="x"), b"other")
    schedule.push(1, Claim(0, (AUDIT,), request="b/1"), key)
    schedule.expedite(name)
    schedule.expedite("unknown")
    held = schedule.pop(lambda claim: AUDIT not in claim.path)
    assert held is not None
    assert held.item == 1
    assert schedule.pop(lambda claim: AUDIT not in claim.path) is None


def test_expedited_record_expedites_earlier_records_of_its_key() -> None:
    schedule: Schedule[int] = Schedule()
    schedule.push(0, Claim(9))
    schedule.push(1, Claim(0, request="a"), b"k")
    schedule.push(2, Claim(0, request="b"), b"k")
    schedule.expedite("b")
    assert drain(schedule) == [1, 2, 0]


def test_removed_records_are_not_served_and_key_order_is_kept() -> None:
    schedule = schedule_of(*[Claim(5)] * 4, keys=[b"a", b"a", None, b"a"])
    assert sorted(schedule.remove_where(lambda item: item in {0, 2})) == [0, 2]
    assert len(schedule) == 2
    assert drain(schedule) == [1, 3]
    assert schedule._chains == {}


def test_waiting_record_joins_the_one_of_its_key_in_progress() -> None:
    schedule = schedule_of(*[Claim(5)] * 3, Claim(9), keys=[b"a", b"a", b"a", b"b"])
    highest, first = schedule.pop(admit_all), schedule.pop(admit_all)
    assert highest is not None
    assert first is not None
    assert (highest.item, schedule.waiting_behind(highest)) == (3, None)
    second = schedule.waiting_behind(first)
    assert second is not None
    schedule.join(second)
    schedule.release(b"a")
    assert (first.item, second.item, schedule.pop(admit_all)) == (0, 1, None)
    schedule.release(b"a")
    assert drain(schedule) == [2]


def test_served_records_leave_no_state() -> None:
    schedule = schedule_of(*[Claim(5, request=f"b/{n}") for n in range(9)], keys=[b"a"] * 9)
    drain(schedule)
    assert (schedule._by_name, schedule._chains, schedule._entries) == ({}, {}, set())


@dataclass(frozen=True)
class Step:
    kind: str
    key: bytes | None
    rank: int
    path: TopicPath


steps = st.builds(
    Step,
    kind=st.sampled_from(["push", "push", "pop", "join", "release", "lose", "expedite", "close"]),
    key=st.sampled_from([None, b"a", b"b", b"c"]),
    rank=st.integers(0, URGENT - 1),
    path=st.sampled_from([(), (AUDIT,), (VALIDATED, AUDIT)]),
)


class ScheduleModel:
    """Schedule with a model of its records."""

    def __init__(self) -> None:
        self.schedule: Schedule[int] = Schedule()
        self.keys: dict[int, bytes | None] = {}
        self.served: list[int] = []
        self.lost: set[int] = set()
        self.busy: dict[bytes, list[Scheduled[int]]] = {}
        self.closed: TopicPath = ()

    def apply(self, number: int, step: Step) -> None:
        match step.kind:
            case "push":
                self.keys[number] = step.key
                claim = Claim(step.rank, step.path, request=f"r{number}")
                self.schedule.push(number, claim, step.key)
            case "pop":
                self.serve()
            case "join":
                self.join(step.key)
            case "release":
                self.release(step.key)
            case "lose":
                self.lost |= set(self.schedule.remove_where(lambda item: item % 5 == step.rank))
            case "expedite":
                self.schedule.expedite(f"r{step.rank}")
            case "close":
                self.closed = step.path

    def serve(self) -> bool:
        held = self.schedule.pop(lambda claim: not self.closed or claim.path != self.closed)
        if held is None:
            return False
        self.served.append(held.item)
        if held.key is not None:
            assert held.key not in self.busy
            self.busy[held.key] = [held]
        return True

    def join(self, key: bytes | None) -> None:
        if key is not None and key in self.busy:
            waiting = self.schedule.waiting_behind(self.busy[key][-1])
            if waiting is not None:
                self.schedule.join(waiting)
                self.served.append(waiting.item)
                self.busy[key].append(waiting)

    def release(self, key: bytes | None) -> None:
        if key is not None and key in self.busy:
            self.busy[key].pop(0)
            if not self.busy[key]:
                del self.busy[key]
            self.schedule.release(key)

    def finish(self) -> None:
        self.closed = ()
        while self.busy or len(self.schedule):
            for key in tuple(self.busy):
                self.release(key)
            while self.serve():
                pass


@given(st.lists(steps, max_size=60))
def test_any_sequence_serves_each_record_once_in_key_order(
    plan: list[Step],
) -> None:
    model = ScheduleModel()
    for number, step in enumerate(plan):
        model.apply(number, step)
    model.finish()
    assert sorted([*model.served, *model.lost]) == sorted(model.keys)
    for key in (b"a", b"b", b"c"):
        order = [item for item in model.served if model.keys[item] == key]
        assert order == sorted(order)
