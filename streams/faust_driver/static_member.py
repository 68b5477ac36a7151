"""Static membership (KIP-345): a worker that restarts gets its previous partitions back.

The broker identifies a static member by its ``group.instance.id``. A new process with the id of a
dead one replaces it at once and without a rebalance; the other workers continue meanwhile. Without
an id the dead member stays in the group until its session times out, and no rebalance completes
before: workers that crash more often than that stop the whole group.
"""

import asyncio
import hashlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.commit import OffsetCommitRequest
from faust.types import TP

from streams.errors import OperatorError
from streams.faust_driver.inline_consumer import InlineConsumer
from streams.file_lock import FileLock

log = logging.getLogger(__name__)

INSTANCES_MAX = 1_000
"""Workers that can share one data directory."""

ID_BYTES = 4
"""Random part of an id: two data directories of one host must not share an id."""

LEAVE_SECONDS = 1.0
"""Time for the coordinator to respond when a member leaves, 2 ms; then a join is in progress."""

FENCED_INSTANCE_ID = 82
"""Kafka's error code; aiokafka 0.14 does not define it."""

DIGEST_CHARACTERS = 8

HOST_CHARACTERS = 100
"""Host name in an id; Kafka allows ids of up to 249 characters."""

_KEPT = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]")


class InstanceIdError(OperatorError):
    """The configured `kafka.group_instance_id` is in use; the text names the process."""


class StaticMember:
    """This worker's membership in one consumer group.

    Attributes:
        instance_id: its ``group.instance.id``; None for a dynamic member.
        leaving: leave the group on stop, so that the other members get its partitions at once.
        failures: consecutive failures of its stage. A stage that fails again leaves the group: the
            cause may be the assignment, which a static member gets back unchanged.
        lease: name of its lease, and of the directory of its rows; independent of host and topics.
            Without one the instance id, or None.
        worker: name of the worker, the same in all of its groups.
    """

    def __init__(
        self,
        instance_id: str | None = None,
        lease: str | None = None,
        worker: str | None = None,
    ) -> None:
        self.instance_id = instance_id
        self.lease = lease or instance_id
        self.worker = worker or f"{_host()}-{os.getpid()}"
        self.leaving = False
        self.failures = 0

    def on_fenced(self) -> None:
        """Become a dynamic member: another process has joined with the id."""
        log.error(
            "another worker uses the group instance id %r and took the partitions of this one, "
            "which continues without an id: give each worker its own kafka.group_instance_id, "
            "or none",
            self.instance_id,
        )
        self.instance_id = None


@contextmanager
def leased_member(
    directory: Path, reads: Iterable[str], configured_id: str | None = None
) -> Iterator[StaticMember]:
    """Lease a member id that no other process uses during the block.

    Each id has a file that its process locks. The kernel releases the lock when the process dies,
    and the next worker on the directory leases the first free id.

    Args:
        directory: directory of the group, on this host.
        reads: topics of the group. Their digest is part of the id: a static member gets its old
            assignment back even when its next release subscribes to other topics.
        configured_id: `kafka.group_instance_id`, instead of a generated id.

    Raises:
        InstanceIdError: a worker on the same directory uses the configured id.
    """
    try:
        lock, lease, instance_id = (
            _lease(directory)
            if configured_id is None
            else _lease_configured(directory, configured_id)
        )
    except OSError as error:
        # A full disk must not prevent the start of the stages that have no rows on disk.
        log.warning("no group instance id can be leased in %s: %s", directory, error)
        yield StaticMember()
        return
    digest = hashlib.sha256("\n".join(sorted(reads)).encode()).hexdigest()[:DIGEST_CHARACTERS]
    try:
        yield StaticMember(f"{instance_id}-{digest}", lease, instance_id)
    finally:
        lock.release()


def _lease(directory: Path) -> tuple[FileLock, str, str]:
    for number in range(INSTANCES_MAX):
        lease = f"instance-{number}"
        lock = FileLock(directory / f"{lease}.lock")
        if lock.try_acquire():
            # The same id in all groups, so that `AlignedAssignor` assigns them alike.
            return lock, lease, _persistent_id(directory.parent / f"{lease}.id")
    raise InstanceIdError(
        f"{INSTANCES_MAX} workers use {directory}: give further ones another data directory"
    )


def _lease_configured(directory: Path, configured_id: str) -> tuple[FileLock, str, str]:
    lease = f"chosen-{configured_id}"
    lock = FileLock(directory / f"{lease}.lock")
    if not lock.try_acquire():
        raise InstanceIdError(
            f"kafka.group_instance_id: {configured_id!r} is used by process {lock.holder()} on the "
            "same data directory: give each worker its own, or leave it out"
        )
    return lock, lease, configured_id


def _persistent_id(path: Path) -> str:
    """Return the id that a file keeps, generated on first use."""
    kept = path.read_text(errors="replace").strip() if path.exists() else ""
    if not _KEPT.fullmatch(kept):
        kept = secrets.token_hex(ID_BYTES)
        path.write_text(kept)
    # The data directory may be a copy of another host's.
    return f"{_host()}-{kept}"


def _host() -> str:
    return _ILLEGAL.sub("-", socket.gethostname())[:HOST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Limits of a poll: ``fetch.max.wait.ms`` and ``max.poll.records``."""

    wait_milliseconds: int
    records: int


class MemberConsumer(InlineConsumer):
    """A consumer as a static member, which leaves its group on a final stop.

    aiokafka sends the id when it joins, but not with heartbeats and commits, so the broker responds
    to a fenced member with `UnknownMemberIdError`, and aiokafka rejoins with the same id: two
    workers with one id would fence each other forever.
    """

    logger = logging.getLogger("faust.member_consumer")
    member: StaticMember

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # For stages without tables Faust uses aiokafka's round robin, which is not aligned.
        consumer._partition_assignment_strategy = [self.app.assignor]  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Connect, and intercept the coordinator's responses."""
        await super().on_start()
        coordinator: Any = self._coordinator()
        coordinator._send_req = partial(self._send, coordinator._send_req)  # noqa: SLF001
        self._known_at = -self.app.conf.broker_session_timeout

    async def on_thread_stop(self) -> None:
        """Leave the group, which aiokafka does for dynamic members only, and disconnect.

        aiokafka waits for a join of a running rebalance, that is, for the slowest member of the
        group, and over TLS for the broker's close, which follows the fetch in progress.
        """
        if self._consumer is not None:
            if self.member.leaving:
                self._become_dynamic()
            leaving = asyncio.create_task(self._coordinator().close())
            await asyncio.wait([leaving], timeout=LEAVE_SECONDS)
            if not leaving.done():
                self._abort_connections({ConnectionGroup.COORDINATION})
            await leaving
            await self._consumer._fetcher.close()  # noqa: SLF001
            self._abort_connections(set(ConnectionGroup))
        await super().on_thread_stop()

    def _abort_connections(self, groups: set[ConnectionGroup]) -> None:
        for (_, group), connection in list(self._ensure_consumer()._client._conns.items()):  # noqa: SLF001
            if group in groups and connection.connected():
                connection._writer.transport.abort()  # noqa: SLF001

    async def _send(self, send: Any, request: Any) -> Any:
        """Send a request to the coordinator, and detect that this member was fenced.

        An unknown member within its session was fenced; after the session it has expired: the
        process was frozen or partitioned.
        """
        response = await send(request)
        if self.member.instance_id is not None:
            now, codes = time.monotonic(), _error_codes(response)
            in_session = now - self._known_at < self.app.conf.broker_session_timeout
            if FENCED_INSTANCE_ID in codes or (UnknownMemberIdError.errno in codes and in_session):
                self.member.on_fenced()
                self._become_dynamic()
            elif UnknownMemberIdError.errno not in codes:
                self._known_at = now
        return response

    async def committed(self, tps: Iterable[Any]) -> dict[Any, int | None]:
        """Return the committed offsets of partitions, None without a commit; one request."""
        partitions = [TopicPartition(*tp) for tp in tps]
        found = await self._coordinator().fetch_committed_offsets(partitions)
        offsets = {tp: each.offset for tp, each in found.items() if each.offset >= 0}
        return {TP(*tp): offsets.get(tp) for tp in partitions}

    def limit_polls(self, limits: PollLimits) -> None:
        """Set the limits of polls and fetches, from the next one on."""
        consumer = self._ensure_consumer()
        consumer._fetcher._fetch_max_wait_ms = limits.wait_milliseconds  # noqa: SLF001
        consumer._max_poll_records = limits.records  # noqa: SLF001

    def _become_dynamic(self) -> None:
        self._coordinator()._group_instance_id = None  # noqa: SLF001

    def _coordinator(self) -> Any:
        return self._ensure_consumer()._coordinator  # noqa: SLF001


def _error_codes(response: Any) -> set[int]:
    """Return the error codes of any response of a group coordinator."""
    if response.API_KEY == OffsetCommitRequest.API_KEY:
        return {code for _, partitions in response.topics for _, code in partitions}
    return {getattr(response, "error_code", 0)}
