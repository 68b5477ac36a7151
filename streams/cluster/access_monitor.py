"""Checks while a worker runs that it could log in, and that its ACLs are all there.

A connection that is open survives its credentials: without this check a password that was changed,
a certificate that expired or an ACL that was removed would show at the next restart of a broker.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from streams.cluster.acls import Acl
from streams.cluster.authorization import MissingAclError, require_acls
from streams.cluster.connection import ClusterAwayError, NoBrokerError
from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

CHECK_SECONDS = 20.0
"""Pause between two checks. One costs a connection and about 25 small requests, 20 ms in all."""

PROBLEM_SECONDS = 3.0
"""Pause while something is wrong: health is to be well soon after the cluster is."""


BROKER_POLL_SECONDS = 0.5
"""Pause between two attempts while a worker that starts waits for a broker."""


class AccessMonitor:
    """Checks the access of a process to its cluster; logs when it is lost and when it is back."""

    def __init__(self, kafka: KafkaSettings, acls: Sequence[Acl]) -> None:
        self._kafka = kafka
        self._acls = acls
        self._problem: str | None = None

    async def require(self) -> None:
        """Return when a new connection may do all that is needed.

        Raises:
            ClusterAwayError: no broker answers, or it refuses the login.
            MissingAclError: ACLs are missing.
        """
        await require_acls(self._kafka, self._acls)

    async def require_at_start(self) -> None:
        """Do the same, but wait for a broker that is being restarted just now.

        Raises:
            ClusterAwayError: no broker answers in time, or one refuses the login.
            MissingAclError: ACLs are missing.
        """
        patience = self._kafka.start_timeout_seconds
        started = time.monotonic()
        is_told = False
        while True:
            try:
                return await self.require()
            except NoBrokerError as error:
                if time.monotonic() - started >= patience:
                    raise
                if not is_told:
                    log.warning("%s\nTrying again for up to %g s.", error, patience)
                    is_told = True
            await asyncio.sleep(BROKER_POLL_SECONDS)

    async def run(self) -> None:
        """Check for ever."""
        while True:
            await asyncio.sleep(PROBLEM_SECONDS if self._problem else CHECK_SECONDS)
            try:
                await self.require()
            except (ClusterAwayError, MissingAclError) as error:
                if self._problem is None:
                    log.error("the access to the cluster is lost: %s", error)  # noqa: TRY400
                self._problem = str(error)
            else:
                if self._problem is not None:
                    log.info("the access to the cluster is back")
                self._problem = None

    def problem(self) -> str | None:
        """Return what the latest check found, None when all was well."""
        return self._problem
