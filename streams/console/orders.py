"""Records the orders of the console's users that are no commands themselves.

An order is recorded before it is carried out: none is carried out without a record, but one that
fails, or whose console is killed in between, is listed, too.
"""

from collections.abc import Mapping, Sequence

from schemas.commands import OrderKind, RecordOrder
from streams.client import RequestProducer
from streams.console.commands import new_id, publish_commands, publish_requests
from streams.new_requests import NewRequest

SUBJECT_CHARACTERS_MAX = 200

NOTE_CHARACTERS_MAX = 1_000


async def record_order(
    producer: RequestProducer,
    order: OrderKind,
    by: str,
    *,
    subject: str,
    count: int = 1,
    note: str = "",
) -> None:
    """Publish an order, and wait for the acknowledgement.

    Raises:
        BrokerTimeoutError: it did not come in time.
    """
    command = RecordOrder(
        id=new_id(),
        by=by,
        order=order,
        subject=subject[:SUBJECT_CHARACTERS_MAX],
        count=count,
        note=note[:NOTE_CHARACTERS_MAX],
    )
    await publish_commands(producer, [command])


async def submit_requests(
    producer: RequestProducer, requests: Sequence[NewRequest], by: str
) -> None:
    """Record the order, and publish its requests.

    Raises:
        BrokerTimeoutError: an acknowledgement did not come in time.
    """
    count = sum(each.members or 1 for each in requests)
    await record_order(producer, "submit", by, subject=requests[0].id, count=count)
    await publish_requests(producer, requests)


def text_of(fields: Mapping[str, object]) -> str:
    """Return the note that names some fields."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())
