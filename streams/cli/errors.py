"""How commands end: expected errors, printed as one line instead of a traceback, and signals."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import click

from schemas.errors import ClipmillError
from streams.errors import OperatorError

EXPECTED = (ClipmillError, OperatorError)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Convert expected errors to `click.ClickException`, which prints no traceback."""
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(str(error)) from None
    except ExceptionGroup as group:
        expected = group.subgroup(EXPECTED)
        if expected is None:
            raise
        raise click.ClickException(str(_first(expected))) from None


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


INTERRUPTED_STATUS = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells report it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit silently on Ctrl-C, the normal end of a command that follows a topic."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED_STATUS) from None


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set while the context is open."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
