"""Requests of the history and reports of downloads, for tests of what the console makes of them."""

from typing import Any

from msgspec.structs import replace

from schemas.contract.examples import PROGRESS
from schemas.events import Progress
from streams.history.rows import RequestRow


def row_with(**fields: Any) -> RequestRow:
    """Return a request with these fields; the others have no value."""
    empty = dict.fromkeys(RequestRow.__struct_fields__)
    defaults: dict[str, Any] = {
        "id": "r",
        "state": "failed",
        "is_final": True,
        "received_at": 7.5,
        "updated_at": 8.0,
        "files": (),
    }
    return RequestRow(**{**empty, **defaults, **fields})


def progress_report(request_id: str) -> Progress:
    """Return the report of a download, a quarter of which is done."""
    return replace(
        PROGRESS,
        request_id=request_id,
        bytes=1_000_000,
        total_bytes=4_000_000,
        bytes_per_second=500_000.0,
        eta_seconds=6.0,
    )
