"""Which of several handlers a record is for, by the kind of event that its header names."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from agents.pipeline.events import EVENTS_BY_KIND, Event
from streams.envelope import TYPE_PREFIX
from streams.records import Effect, Incoming
from streams.stage import BugHandler, Handler

T = TypeVar("T")


def kind_of(record: Incoming) -> type[Event] | None:
    """Return the kind of event in a record, None when it names none."""
    return EVENTS_BY_KIND.get((record.header("ce_type") or "").removeprefix(TYPE_PREFIX))


def handle_by_kind(handlers: Mapping[type[Event], Handler], usual: Handler) -> Handler:
    """Return the handler that leaves a record to the handler of its kind of event."""

    async def handle(record: Incoming) -> Sequence[Effect]:
        return await _chosen(handlers, record, usual)(record)

    return handle


def bug_by_kind(handlers: Mapping[type[Event], BugHandler], usual: BugHandler) -> BugHandler:
    """Return the same for what becomes of an unexpected exception."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        return _chosen(handlers, record, usual)(record, error)

    return on_bug


def _chosen(handlers: Mapping[type[Event], T], record: Incoming, usual: T) -> T:
    kind = kind_of(record)
    return usual if kind is None else handlers.get(kind, usual)
