import pytest

from agents.ledger.events import introduce_batch, parse_member_id
from schemas.audit import AuditRecord
from streams.topics import AUDIT
from tests.unit.agents.builders import body_of, header, member_job


def test_batch_introduction_has_the_batch_id() -> None:
    first = member_job(0, 3)
    sent = introduce_batch(first, "ledger", "cause")
    entry = body_of(sent, AuditRecord)
    assert (sent.topic, sent.key, entry.request_id) == (AUDIT, b"b1", "b1")
    assert (entry.job, entry.detail) == (first, {"members": "3"})
    assert header(sent, "ce_correlationid") == "b1"


@pytest.mark.parametrize(
    ("request_id", "expected"),
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
def test_member_id_is_parsed_into_batch_and_index(
    request_id: str, expected: tuple[str, int] | None
) -> None:
    assert parse_member_id(request_id) == expected
