"""Priority queue: order, ageing, and a bound on the memory of removed entries."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.priority_queue import (
    AGEING,
    DEAD_MIN,
    DEFAULT_RANK,
    URGENT,
    PriorityQueue,
    QueueEntry,
    new_entry,
    rank_of,
)


def queue_of(*ranks: int) -> PriorityQueue[int]:
    """Return a queue of items 0, 1, 2 … with these ranks."""
    queue: PriorityQueue[int] = PriorityQueue()
    for item, rank in enumerate(ranks):
        queue.push(new_entry(item, rank))
    return queue


def requeue(queue: PriorityQueue[int], entry: QueueEntry[int], rank: int) -> None:
    """Change the rank of a queued entry."""
    queue.remove(entry)
    entry.rank = rank
    queue.push(entry)


def drain(queue: PriorityQueue[int]) -> list[int]:
    return [queue.pop().item for _ in range(len(queue))]


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ((0, False), (1, True)),
        ((5, True), (5, False)),
        ((5, False), (6, True)),
        ((9, True), (9, False)),
    ],
)
def test_rank_orders_by_priority_then_single_before_batch(
    lower: tuple[int, bool], higher: tuple[int, bool]
) -> None:
    assert rank_of(lower[0], in_batch=lower[1]) < rank_of(higher[0], in_batch=higher[1])


def test_priorities_outside_the_schema_are_clamped_below_urgent() -> None:
    assert rank_of(1_000, in_batch=False) == rank_of(9, in_batch=False) < URGENT
    assert rank_of(-7, in_batch=True) == rank_of(0, in_batch=True) == 0
    assert rank_of(5, in_batch=False) == DEFAULT_RANK


def test_highest_rank_is_served_first_and_equal_ranks_in_fifo_order() -> None:
    assert drain(queue_of(1, 3, 2, 3, 1)) == [1, 3, 2, 0, 4]


def test_every_nth_pop_serves_the_oldest_entry() -> None:
    queue = queue_of(0, *[5] * (2 * AGEING))
    assert drain(queue).index(0) == AGEING - 1


def test_entry_requeued_with_another_rank_is_served_by_it() -> None:
    queue = queue_of(1, 1, 1)
    requeue(queue, list(queue)[2], 9)
    assert drain(queue) == [2, 0, 1]


def test_removed_entry_is_not_served_and_second_removal_is_a_no_op() -> None:
    queue = queue_of(1, 2, 3)
    entry = list(queue)[1]
    queue.remove(entry)
    queue.remove(entry)
    assert drain(queue) == [2, 0]


def test_requeued_entry_keeps_its_arrival_order() -> None:
    queue = queue_of(1, 1, 1)
    first = queue.pop()
    queue.push(first)
    assert queue.oldest() is first
    assert drain(queue) == [0, 1, 2]


def test_removed_entries_are_bounded_behind_a_waiting_low_rank() -> None:
    queue = queue_of(0)
    for item in range(50_000):
        entry = new_entry(item, 5)
        queue.push(entry)
        queue.remove(entry)
    assert max(len(queue._by_arrival), len(queue._by_rank)) <= 2 * len(queue) + DEAD_MIN + 1


Step = tuple[str, int]


KINDS = st.sampled_from(["push", "pop", "remove", "requeue"])


@given(st.lists(st.tuples(KINDS, st.integers(0, 20))))
def test_any_sequence_serves_each_entry_once_in_order(steps: list[Step]) -> None:
    queue: PriorityQueue[int] = PriorityQueue()
    model: list[QueueEntry[int]] = []
    served = 0
    chance = random.Random(7)
    for number, (kind, rank) in enumerate(steps):
        if kind == "push":
            model.append(new_entry(number, rank))
            queue.push(model[-1])
        elif not model:
            continue
        elif kind == "pop":
            served += 1
            oldest, best = min(model, key=lambda each: each.arrival), min(model)
            expected = best if served % AGEING else oldest
            assert queue.pop() is expected
            model.remove(expected)
        else:
            entry = chance.choice(model)
            if kind == "remove":
                queue.remove(entry)
                model.remove(entry)
            else:
                requeue(queue, entry, rank)
    assert [entry.item for entry in queue] == [entry.item for entry in model]


@given(low=st.integers(1, 40), per_turn=st.integers(1, 3))
def test_no_entry_starves_under_an_endless_stream_of_higher_ranks(low: int, per_turn: int) -> None:
    queue = queue_of(*[0] * low)
    waiting = set(range(low))
    for turn in range(AGEING * low):
        for _ in range(per_turn):
            queue.push(new_entry(low + turn, 19))
        waiting.discard(queue.pop().item)
    assert waiting == set()
