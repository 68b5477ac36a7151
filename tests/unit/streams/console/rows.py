"""Requests of the history, for tests of what the console makes of them."""

from typing import Any

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
