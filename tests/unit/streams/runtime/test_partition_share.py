import pytest

from streams.runtime.partition_share import PartitionShare
from streams.topics import ATTEMPTS, MARKS, REQUESTS, VALIDATED


@pytest.mark.parametrize(
    ("mine", "share"),
    [
        ([], 0.0),
        ([("requests", 0)], 0.25),
        ([("requests", 0), ("requests", 0), ("requests", 3)], 0.5),
        ([("requests", number) for number in range(4)], 1.0),
        ([("some-changelog", 0), ("requests", 1)], 0.25),
    ],
)
def test_a_share_is_the_own_partitions_of_all(mine: list[tuple[str, int]], share: float) -> None:
    counted = PartitionShare((REQUESTS,), 4)
    counted.assign(mine)
    assert counted() == share


def test_nothing_is_shared_out_before_the_first_assignment_and_the_newest_counts() -> None:
    share = PartitionShare((REQUESTS,), 4)
    assert share() == 0
    for count in (4, 1, 3):
        share.assign({("requests", number) for number in range(count)})
        assert share() == count / 4


def test_several_topics_count_together_each_with_its_own_number() -> None:
    share = PartitionShare((VALIDATED, ATTEMPTS, MARKS), 4)
    share.assign({("videos.validated", 0), ("attempts", 0), ("deadletters.marks", 0)})
    assert share() == 3 / 9


def test_the_shares_of_all_workers_are_one() -> None:
    partitions = {("requests", number) for number in range(7)}
    shares = []
    for worker in range(3):
        share = PartitionShare((REQUESTS,), 7)
        share.assign({each for each in partitions if each[1] % 3 == worker})
        shares.append(share())
    assert sum(shares) == pytest.approx(1.0)
