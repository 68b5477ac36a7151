"""Static membership: a worker that died comes back to the partitions that it had.

The broker knows a static member by its ``group.instance.id`` (KIP-345). A new process under the id
of a dead one takes its place at once and without a rebalance; the other workers go on meanwhile.
Without an id the dead member stays in the group until its session ends, and until then no
rebalance can be completed: workers that die faster than that bring the group to a stand.
"""

import hashlib
import logging
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitRequest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from streams.file_lock import FileLock

log = logging.getLogger(__name__)

INSTANCES_MAX = 1_000
"""Workers on one data directory."""

ID_BYTES = 4
"""Random part of an id: two data directories of one host must not share an id."""

FENCED_INSTANCE_ID = 82
"""Error code of Kafka's protocol that aiokafka 0.14 has no name for."""

DIGEST_CHARACTERS = 8

HOST_CHARACTERS = 100
"""Kafka takes ids of up to 249 characters."""

_KEPT = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")


class InstanceIdError(Exception):
    """The configured `kafka.group_instance_id` is in use; the text says by whom."""


class StaticMember:
    """The place of this worker in one consumer group.

    Attributes:
        instance_id: its ``group.instance.id``; None makes it a dynamic member.
        leaving: whether its end is for good, so that the others get its partitions at once.
        failures: how often in a row its stage has failed. A stage that fails again leaves: the
            cause may be the assignment, which a static member gets back as it was.
    """

    def __init__(self, instance_id: str | None = None) -> None:
        self.instance_id = instance_id
        self.leaving = False
        self.failures = 0

    def fenced(self) -> None:
        """Become a dynamic member: another process took the id."""
        log.error(
            "another worker uses the group instance id %r and took the partitions of this one, "
            "which goes on without an id: give each worker its own kafka.group_instance_id, "
            "or none",
            self.instance_id,
        )
        self.instance_id = None


@contextmanager
def leased_member(
    directory: Path, reads: Iterable[str], chosen: str | None = None
) -> Iterator[StaticMember]:
    """Give a member whose id no other process has as long as the block lasts.

    Each id belongs to a file that its process locks. The kernel unlocks it when the process dies,
    and the next worker on the directory takes the first id that is free.

    Args:
        directory: of the group, on this host.
        reads: the topics of the group. They are part of the id: a static member gets its old
            assignment back, also when its next release reads other topics.
        chosen: `kafka.group_instance_id`, in place of an id made here.

    Raises:
        InstanceIdError: a worker on the same directory uses the chosen id.
    """
    try:
        lock, instance_id = _lease(directory) if chosen is None else _lease_of(directory, chosen)
    except OSError as error:
        # A full disk must not keep a worker from starting.
        log.warning("no group instance id can be leased in %s: %s", directory, error)
        yield StaticMember()
        return
    digest = hashlib.sha256("\n".join(sorted(reads)).encode()).hexdigest()[:DIGEST_CHARACTERS]
    try:
        yield StaticMember(f"{instance_id}-{digest}")
    finally:
        lock.release()


def _lease(directory: Path) -> tuple[FileLock, str]:
    for number in range(INSTANCES_MAX):
        lock = FileLock(directory / f"instance-{number}.lock")
        if lock.try_acquire():
            # The same id in all groups: their partitions are assigned alike.
            return lock, _id_in(directory.parent / f"instance-{number}.id")
    raise InstanceIdError(f"{INSTANCES_MAX} workers use {directory}: give others a data directory")


def _lease_of(directory: Path, chosen: str) -> tuple[FileLock, str]:
    lock = FileLock(directory / f"chosen-{chosen}.lock")
    if not lock.try_acquire():
        raise InstanceIdError(
            f"kafka.group_instance_id: {chosen!r} is used by process {lock.holder()} on the same "
            "data directory: give each worker its own, or leave it out"
        )
    return lock, chosen


def _id_in(path: Path) -> str:
    """Return the id that a file keeps, made at its first use."""
    kept = path.read_text(errors="replace").strip() if path.exists() else ""
    if not _KEPT.fullmatch(kept):
        kept = secrets.token_hex(ID_BYTES)
        path.write_text(kept)
    # The data directory may be a copy of another host's.
    return f"{_ILLEGAL.sub('-', socket.gethostname())[:HOST_CHARACTERS]}-{kept}"


class MemberThread(AIOKafkaConsumerThread):
    """Faust's consumer thread as a static member that leaves its group when it ends for good.

    aiokafka sends the id when it joins, but not with heartbeats and commits, so the broker answers
    a fenced member with `UnknownMemberIdError`, and aiokafka joins again under the same id: two
    workers of one id would take the partitions from each other for ever.
    """

    logger = logging.getLogger("faust.member_thread")
    member: StaticMember

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust gives stages without tables aiokafka's round robin, which is not aligned with the
        # assignment of the others.
        consumer._partition_assignment_strategy = [self.app.assignor]  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Connect, and watch what the coordinator answers."""
        await super().on_start()
        coordinator: Any = self._coordinator()
        coordinator._send_req = partial(self._send, coordinator._send_req)  # noqa: SLF001
        self._known_at = -self.app.conf.broker_session_timeout

    async def on_thread_stop(self) -> None:
        """Leave the group, which aiokafka does for dynamic members only, and disconnect."""
        if self._consumer is not None and self.member.leaving:
            self._be_dynamic()
        await super().on_thread_stop()

    async def _send(self, send: Any, request: Any) -> Any:
        """Send a request to the coordinator; a member that the broker forgot was fenced.

        After its session it is forgotten rightly: the process was frozen or cut off.
        """
        response = await send(request)
        if self.member.instance_id is not None:
            now, codes = time.monotonic(), _error_codes(response)
            in_session = now - self._known_at < self.app.conf.broker_session_timeout
            if FENCED_INSTANCE_ID in codes or (UnknownMemberIdError.errno in codes and in_session):
                self.member.fenced()
                self._be_dynamic()
            elif UnknownMemberIdError.errno not in codes:
                self._known_at = now
        return response

    def limit_fetch_wait(self, milliseconds: int) -> None:
        """Set how long a fetch waits for records, from the next one on."""
        self._ensure_consumer()._fetcher._fetch_max_wait_ms = milliseconds  # noqa: SLF001

    def _be_dynamic(self) -> None:
        self._coordinator()._group_instance_id = None  # noqa: SLF001

    def _coordinator(self) -> Any:
        return self._ensure_consumer()._coordinator  # noqa: SLF001


def _error_codes(response: Any) -> set[int]:
    """Return the errors of a response of any kind from a group coordinator."""
    if response.API_KEY == OffsetCommitRequest.API_KEY:
        return {code for _, partitions in response.topics for _, code in partitions}
    return {getattr(response, "error_code", 0)}
