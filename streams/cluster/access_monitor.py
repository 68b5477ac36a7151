"""The access monitor: checks periodically that a worker can log in and has all its ACLs.

An open connection survives its credentials: without this check a changed password, an expired
certificate or a removed ACL would show only at the next restart of a broker.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from streams.cluster.acls import Acl
from streams.cluster.authorization import MissingAclError, require_acls
from streams.cluster.connection import ClusterUnavailableError, NoBrokerError
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

CHECK_SECONDS = 20.0
"""Pause between two checks. One costs a connection and about 25 small requests, 20 ms in all."""

PROBLEM_SECONDS = 3.0
"""Pause while access is lost, so that health recovers soon after the cluster."""


BROKER_POLL_SECONDS = 0.5
"""Pause between two attempts while a starting worker waits for a broker."""


class AccessMonitor:
    """Checks the access of a process to its cluster; logs when it is lost and when it is back."""

    def __init__(self, kafka: KafkaSettings, acls: Sequence[Acl]) -> None:
        self._kafka = kafka
        self._acls = acls
        self._problem: str | None = None

    async def require(self) -> None:
        """Check login and ACLs with a new connection.

        Raises:
            ClusterUnavailableError: no broker answers, or it rejects the login.
            MissingAclError: ACLs are missing.
        """
        await require_acls(self._kafka, self._acls)

    async def require_at_start(self) -> None:
        """Check the same, with retries while no broker answers, as during its restart.

        Raises:
            ClusterUnavailableError: no broker answers in time, or one rejects the login.
            MissingAclError: ACLs are missing.
        """
        timeout = self._kafka.start_timeout_seconds
        started = time.monotonic()
        is_logged = False
        while True:
            try:
                return await self.require()
            except NoBrokerError as error:
                if time.monotonic() - started >= timeout:
                    raise
                if not is_logged:
                    log.warning("%s\nRetrying for up to %g s.", error, timeout)
                    is_logged = True
            await asyncio.sleep(BROKER_POLL_SECONDS)

    async def run(self) -> None:
        """Check periodically, until cancelled."""
        while True:
            await asyncio.sleep(PROBLEM_SECONDS if self._problem else CHECK_SECONDS)
            try:
                await self.require()
            except (ClusterUnavailableError, MissingAclError) as error:
                if self._problem is None:
                    log.error("access to the cluster is lost: %s", error)  # noqa: TRY400
                self._problem = str(error)
            else:
                if self._problem is not None:
                    log.info("access to the cluster is restored")
                self._problem = None

    def problem(self) -> str | None:
        """Return the failure of the latest check, None when it passed."""
        return self._problem
