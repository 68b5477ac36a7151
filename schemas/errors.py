"""Error codes, the error published to clients, and the exception that carries them internally."""

from enum import StrEnum
from typing import Literal

import msgspec

from schemas.video import EngineVersions


class ErrorCode(StrEnum):
    """Stable, dotted names of all failures. Part of the contract."""

    NETWORK_TIMEOUT = "network.timeout"
    NETWORK_DNS = "network.dns"
    NETWORK_CONNECTION = "network.connection"
    NETWORK_SERVER = "network.server"
    RATE_LIMIT_API = "rate_limit.api"
    RATE_LIMIT_IP_BLOCK = "rate_limit.ip_block"
    RATE_LIMIT_ACCOUNT = "rate_limit.account"
    CONTENT_NOT_FOUND = "content.not_found"
    CONTENT_PRIVATE = "content.private"
    CONTENT_UNSUPPORTED = "content.unsupported"
    CONTENT_LIVE_ENDED = "content.live_ended"
    CONTENT_GEO_BLOCKED = "content.geo_blocked"
    CONTENT_LOGIN_REQUIRED = "content.login_required"
    CONTENT_AGE_RESTRICTED = "content.age_restricted"
    CONTENT_NO_FORMATS = "content.no_formats"
    CONTENT_LINK_EXPIRED = "content.link_expired"
    CONTENT_DAMAGED = "content.damaged"
    CONTENT_NO_SOUND = "content.no_sound"
    CONTENT_WITHHELD = "content.withheld"
    PLATFORM_CHANGED = "platform.changed"
    SYSTEM_DISK_FULL = "system.disk_full"
    SYSTEM_STORAGE = "system.storage"
    SYSTEM_CONFIG = "system.config"
    SYSTEM_ENGINE_CRASH = "system.engine_crash"
    INTERNAL_BUG = "internal.bug"
    REQUEST_INVALID = "request.invalid"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_EXPIRED = "request.expired"
    REQUEST_CANCELLED = "request.cancelled"


CODE_FAMILIES = tuple(sorted({code.partition(".")[0] for code in ErrorCode}))
"""First parts of the codes; another version may have further codes of a family."""


class ErrorContext(msgspec.Struct, frozen=True, kw_only=True):
    """One failure: its facts, and what the user can do. Field names are part of the contract.

    Attributes:
        operation: the step that failed, such as ``extraction``.
        url: the URL concerned, as the client gave it.
        error_type: one of `ErrorCode`.
        user_message: one sentence for the user.
        technical_details: facts for developers, redacted; ``field`` and ``reason`` for bad input.
        recovery_options: commands that may resolve the failure, ready to run.
        suggested_actions: what the user can do, one sentence each.
    """

    operation: str
    url: str
    error_type: ErrorCode
    user_message: str
    technical_details: dict[str, str] = {}
    recovery_options: tuple[str, ...] = ()
    suggested_actions: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Platform, operation and egress of an attempt; see `schemas.attempts.EndpointRecord`."""

    platform: str
    operation: Literal["resolve", "extract", "download"]
    egress: str

    @property
    def key(self) -> str:
        """Key of its records, and name of its breaker: ``tiktok:extract:direct``."""
        return endpoint_key(self.platform, self.operation, self.egress)

    @property
    def labels(self) -> tuple[str, str, str]:
        """Its metric labels."""
        return self.platform, self.operation, self.egress


def endpoint_key(platform: str, operation: str, egress: str) -> str:
    return f"{platform}:{operation}:{egress}"


class ClipmillError(Exception):
    """The only exception that stages handle: an error code and its facts.

    Args:
        code: the error code; decides whether and when the step is retried.
        message: what happened, to what. Must contain no secrets.
        retry_after: seconds that the platform requested with Retry-After, if any.
        details: further facts for `ErrorContext.technical_details`.

    Attributes:
        endpoint: endpoint of a failed network attempt, else None; set by the outbound gate.
        permitted: False if no attempt was made; see `schemas.events.Failure`.
        account: name of the account used.
        format_id: format of the file concerned, if there are several.
        engine: versions of the engine that failed to read a page.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retry_after: float | None = None,
        **details: str,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.details = details
        self.endpoint: Endpoint | None = None
        self.permitted = True
        self.account: str | None = None
        self.format_id: str | None = None
        self.engine: EngineVersions | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
