"""The error of a call: its HTTP status, and the parameter that it concerns."""

from streams.cluster.connection import ClusterUnavailableError
from streams.console.jobs.store import JobStoreError
from streams.deadletters.index import IndexIncompleteError
from streams.deadletters.operations import DecidedDeadLetterError
from streams.deadletters.replay import ReplayFencedError
from streams.deadletters.store import UnknownDeadLetterError
from streams.errors import OperatorError
from streams.history.rows import CriterionError
from streams.history.store import HistoryError
from streams.new_requests import InputError


class CallError(Exception):
    """A call is rejected; the text says why, and what the caller can do.

    Attributes:
        status: HTTP status.
        field: the parameter, header or service that it concerns.
    """

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


class BrokerTimeoutError(OperatorError):
    """The broker did not acknowledge in time; whether it has the records is unknown."""


_STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (InputError, 400, "body"),
    (HistoryError, 503, "history"),
    (JobStoreError, 503, "jobs"),
    (BrokerTimeoutError, 503, "kafka"),
    (ClusterUnavailableError, 503, "kafka"),
    (IndexIncompleteError, 503, "kafka"),
    (UnknownDeadLetterError, 404, "id"),
    (DecidedDeadLetterError, 409, "id"),
    (ReplayFencedError, 409, "replay"),
    (OperatorError, 403, "kafka"),
)
"""Status and field of errors of the layers below; the first class that matches counts."""


def as_call_error(error: Exception) -> CallError | None:
    """Return the error of the call that an error below has failed; None for a bug."""
    if isinstance(error, CallError):
        return error
    if isinstance(error, CriterionError):
        return CallError(400, error.field, f"{error.field}: {error}")
    for kind, status, field in _STATUSES:
        if isinstance(error, kind):
            return CallError(status, field, str(error))
    return None
