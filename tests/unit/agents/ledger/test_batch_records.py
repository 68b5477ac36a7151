import pytest

from agents.ledger.batch_records import introduce_batch, member_place
from schemas.audit import AuditRecord
from streams.topics import AUDIT
from tests.unit.agents.builders import body_of, header, member_job


def test_a_batch_is_introduced_under_its_own_id() -> None:
    first = member_job(0, 3)
    sent = introduce_batch(first, "ledger", "cause")
    entry = body_of(sent, AuditRecord)
    assert (sent.topic, sent.key, entry.request_id) == (AUDIT, b"b1", "b1")
    assert (entry.job, entry.detail) == (first, {"members": "3"})
    assert header(sent, "ce_correlationid") == "b1"


@pytest.mark.parametrize(
    ("request_id", "place"),
    [
        ("b/0", ("b", 0)),
        ("b/999", ("b", 999)),
        ("requests-1-17/3", ("requests-1-17", 3)),
        ("r/replay-1/4", ("r/replay-1", 4)),
        ("b", None),
        ("b/1000", None),
        ("b/1/replay-2", None),
        ("r/replay-1", None),
        ("/1", None),
        ("b/", None),
        ("b/1\n", None),
        ("", None),
    ],
)
def test_the_id_of_a_member_names_its_batch_and_place(
    request_id: str, place: tuple[str, int] | None
) -> None:
    assert member_place(request_id) == place
