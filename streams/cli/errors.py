"""Expected errors of commands, printed as one line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

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
