"""Exception handler of the event loop."""

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

_CLOSED = "the handler is closed"


def handle_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task awaits; a write to a connection that was lost is no error.

    uvloop reports a lost connection as an OSError and logs none, but as a RuntimeError when TLS
    writes once more before the loss is processed (uvloop issue 506). The owner of the connection
    learns of the loss in both cases.
    """
    error = context.get("exception")
    if isinstance(error, RuntimeError) and str(error).endswith(_CLOSED) and "protocol" in context:
        log.debug("write to a closed connection: %s", error)
    else:
        loop.default_exception_handler(context)
