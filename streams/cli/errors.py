"""Expected errors of commands: one readable line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from schemas.errors import ClipmillError
from streams.broker.broker import BrokerError
from streams.broker.jars import JarError
from streams.broker.state import PortTakenError, StateError
from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterAwayError
from streams.cluster.producer import RecordRefusedError
from streams.cluster.topic_admin import TopicsError
from streams.faust_driver.static_member import InstanceIdError
from streams.memory import MemoryExhaustedError
from streams.observability.http_server import AddressError
from streams.stage import UnknownStageError

EXPECTED = (
    AddressError,
    BrokerError,
    ClipmillError,
    ClusterAwayError,
    InstanceIdError,
    JarError,
    MemoryExhaustedError,
    MissingAclError,
    PortTakenError,
    RecordRefusedError,
    StateError,
    TopicsError,
    UnknownStageError,
)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn expected errors into click's own, which are printed without a traceback."""
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
"""Exit status after Ctrl-C, as shells report it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """End without a word on Ctrl-C: that is how following is ended."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED_STATUS) from None
