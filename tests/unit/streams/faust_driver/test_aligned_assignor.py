import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.faust_driver.aligned_assignor import aligned_partitions, member_name

UUID = "0b3bd3a6-5b0e-4e38-9f6a-1e2d3c4b5a69"
MEMBERS = st.lists(st.text("abc-", min_size=1, max_size=8), min_size=1, max_size=9, unique=True)


@pytest.mark.parametrize(
    ("member_id", "name"),
    [
        (f"box-1a2b3c4d-52d6ce10-{UUID}", "box-1a2b3c4d"),
        (f"pod-0-52d6ce10-{UUID}", "pod-0"),
        (f"clipmill-extraction-{UUID}", f"clipmill-extraction-{UUID}"),
        ("", ""),
    ],
)
def test_member_name_is_the_same_in_all_groups(member_id: str, name: str) -> None:
    assert member_name(member_id) == name


@given(MEMBERS, st.integers(0, 60))
def test_all_partitions_are_assigned_once_and_evenly(members: list[str], partitions: int) -> None:
    owned = aligned_partitions(members, partitions)
    assert sorted(each for mine in owned.values() for each in mine) == list(range(partitions))
    sizes = [len(mine) for mine in owned.values()]
    assert max(sizes) - min(sizes) <= 1


@given(MEMBERS, st.integers(0, 60))
def test_assignment_is_independent_of_the_member_order(members: list[str], partitions: int) -> None:
    assert aligned_partitions(members, partitions) == aligned_partitions(members[::-1], partitions)


def test_groups_of_the_same_workers_are_aligned() -> None:
    groups = [[f"box-{n:08x}-{digest}-{UUID}" for n in range(3)] for digest in ("a" * 8, "b" * 8)]
    first, second = (list(aligned_partitions(group, 12).values()) for group in groups)
    assert first == second


def owners(members: list[str]) -> dict[int, str]:
    assigned = aligned_partitions(members, 60)
    return {partition: member for member, mine in assigned.items() for partition in mine}


def test_few_partitions_move_when_a_member_joins() -> None:
    names = [f"box-{number}" for number in range(12)]
    moved = 0
    for count in range(1, 12):
        before, after = owners(names[:count]), owners(names[: count + 1])
        moved += sum(before[each] != after[each] for each in range(60))
    assert moved <= 2 * sum(60 / count for count in range(2, 13))
