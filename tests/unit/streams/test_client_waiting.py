"""Which results a client still waits for."""

from streams.client import Outstanding


def test_member_that_is_waited_for_is_not_asked_for_again_by_the_end_of_its_batch() -> None:
    outstanding = Outstanding()
    for request_id in ("b", "b/0", "b/1"):
        outstanding.add(request_id)
    assert outstanding.take({"request_id": "b/0", "status": "completed"})
    end = {"status": "batch_finished", "request_id": "b", "batch_size": 2}
    assert outstanding.take(end | {"counts": {"undecided": 0}})
    assert outstanding.take({"request_id": "b/1", "status": "completed"})
    assert not outstanding
