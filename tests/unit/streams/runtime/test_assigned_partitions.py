import pytest

from streams.runtime.assigned_partitions import PartitionShare
from streams.topics import ATTEMPTS, MARKS, REQUESTS, VALIDATED


@pytest.mark.parametrize(
    ("assigned", "share"),
    [
        ([], 0.0),
        ([("requests", 0)], 0.25),
        ([("requests", 0), ("requests", 0), ("requests", 3)], 0.5),
        ([("requests", number) for number in range(4)], 1.0),
        ([("some-changelog", 0), ("requests", 1)], 0.25),
    ],
)
def test_share_is_the_assigned_fraction_of_all_partitions(
    assigned: list[tuple[str, int]], share: float
) -> None:
    counted = PartitionShare((REQUESTS,), 4)
    counted.assign(assigned)
    assert counted() == share


def test_share_is_zero_before_assignment_then_follows_the_latest() -> None:
    share = PartitionShare((REQUESTS,), 4)
    assert share() == 0
    for count in (4, 1, 3):
        share.assign({("requests", number) for number in range(count)})
        assert share() == count / 4


def test_share_counts_all_topics_with_their_partition_counts() -> None:
    share = PartitionShare((VALIDATED, ATTEMPTS, MARKS), 4)
    share.assign({("videos.validated", 0), ("attempts", 0), ("deadletters.marks", 0)})
    assert share() == 3 / 9


def test_shares_of_all_workers_sum_to_one() -> None:
    partitions = {("requests", number) for number in range(7)}
    shares = []
    for worker in range(3):
        share = PartitionShare((REQUESTS,), 7)
        share.assign({each for each in partitions if each[1] % 3 == worker})
        shares.append(share())
    assert sum(shares) == pytest.approx(1.0)
