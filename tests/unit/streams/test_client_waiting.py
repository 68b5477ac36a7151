"""Batch summaries among the pending results of a client."""

from streams.client import Outstanding


def test_batch_summary_does_not_make_recorded_members_pending_again() -> None:
    outstanding = Outstanding()
    for request_id in ("b", "b/0", "b/1"):
        outstanding.add(request_id)
    assert outstanding.record({"request_id": "b/0", "status": "completed"})
    summary = {"status": "batch_finished", "request_id": "b", "batch_size": 2}
    assert outstanding.record(summary | {"counts": {"undecided": 0}})
    assert outstanding.record({"request_id": "b/1", "status": "completed"})
    assert not outstanding
