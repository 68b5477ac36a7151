"""Shared state of all workers: the newest value per key of the compacted topic ``signals``."""

from typing import Literal

import msgspec

from schemas.attempts import Operation
from schemas.codec import Moment
from schemas.errors import ErrorCode, endpoint_key
from schemas.video import EngineVersions

BREAKER = "breaker/"
CANCEL = "cancel/"
REFRESH = "refresh/"
INTAKE = "intake/"
RATE = "rate/"
ACCOUNT = "account/"
CACHE = "cache/"
ENGINE = "engine/"
MEDIA_HOST = "media-host/"
"""Key prefixes. They are followed by the breaker's name, request id, video key, stage, for a rate
by the name that the endpoint's breaker has, too, for an account by platform and name, for caches by
stage and worker, for an engine by worker, and for a media host by platform, host and video key."""

ACCOUNT_SECONDS = 300.0
"""Interval at which the state of an account is published again, changed or not. One that is three
times as old is of an account that no worker has any more."""

WORKER_STATE_SECONDS = 120.0
"""Interval at which a worker publishes the state of its caches and engine again, changed or not.
One that is three times as old is of a worker that has stopped."""


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """Circuit breaker of one platform, operation and egress. Key: ``breaker/<name>``.

    Attributes:
        state: ``closed`` permits all attempts, ``open`` none before ``until``, ``half_open`` only
            the granted trial calls, ``forced_open`` none until it is reset.
        reason: error code of the failures that opened it.
        since: start of this state.
        until: earliest time of the first trial call; None unless open.
        openings: openings without closing in between; the open time grows with it.
        trials: ids of the trial calls granted in this half-open phase.
        trials_max: maximum of granted trial calls.
        budget_until: retries (not first attempts) wait until then: the retry budget is exhausted.
        by: operator who forced it.
    """

    platform: str
    operation: Operation
    egress: str
    state: Literal["closed", "open", "half_open", "forced_open"] = "closed"
    reason: ErrorCode | None = None
    since: Moment
    until: Moment | None = None
    openings: int = 0
    trials: tuple[str, ...] = ()
    trials_max: int = 0
    budget_until: Moment | None = None
    by: str | None = None

    @property
    def name(self) -> str:
        """Name of the breaker: ``tiktok:extract:direct``."""
        return endpoint_key(self.platform, self.operation, self.egress)


class RateState(msgspec.Struct, frozen=True, kw_only=True):
    """Rate limit of an operation of a platform over one egress, for all workers together.

    Key: ``rate/<name>``.

    Attributes:
        requests_per_second: the limit, if lower than that of the settings; None: the settings'.
        reason: error code of the failures that cut the rate, None if it is not cut.
        since: when ``reason`` was set or cleared.
        until: no request is made before; None without such a pause.
        cuts: number of cuts so far. Attempts report it, so that an attempt from before a cut is
            recognised without comparing clocks.
    """

    platform: str
    operation: Operation
    egress: str
    requests_per_second: float | None = None
    reason: ErrorCode | None = None
    since: Moment
    until: Moment | None = None
    cuts: int = 0

    @property
    def name(self) -> str:
        """Name of the endpoint, equal to the breaker's: ``tiktok:extract:direct``."""
        return endpoint_key(self.platform, self.operation, self.egress)


class CancelSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A request or a batch is cancelled. Key: ``cancel/<request id>``."""

    by: str
    at: Moment


class RefreshSignal(msgspec.Struct, frozen=True, kw_only=True):
    """Cache entries of a video older than ``at`` are invalid. Key: ``refresh/<video key>``."""

    by: str
    at: Moment


class IntakeSignal(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a stage consumes records. Key: ``intake/<stage>``.

    Attributes:
        paused: consumption is paused.
        reason: the reason, and what to do about it, for the operator.
        by: author: a stage, or an operator.
    """

    paused: bool
    reason: str
    by: str
    at: Moment


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a platform, as the worker sees it that has published it last.

    Key: ``account/<platform>/<account>``.

    Attributes:
        account: name of the account; no secret.
        healthy: it is usable now.
        last_success_at: latest success that proves the login; None without one in this worker.
        expires_at: end of the login; None when that is not known.
        unsaved: renewed cookies cannot be persisted, and are lost at a restart.
        at: time of the state.
    """

    platform: str
    account: str
    healthy: bool
    last_success_at: Moment | None = None
    expires_at: Moment | None = None
    unsaved: bool = False
    at: Moment

    @property
    def name(self) -> str:
        """Name of the account among all platforms: ``tiktok/main``."""
        return f"{self.platform}/{self.account}"


class CacheLevelState(msgspec.Struct, frozen=True, kw_only=True):
    """A level of a cache; counters start with the process.

    Attributes:
        level: ``front``, ``memory`` and ``table`` are in the worker, ``shared`` and ``storage``
            outside of it.
        hits: valid entries found.
        misses: lookups that found no valid entry.
        stale: expired entries that were served in an outage.
        entries: number of entries; None for a level outside of the worker.
        bytes: their size, in part estimated.
    """

    level: str
    hits: int = 0
    misses: int = 0
    stale: int = 0
    entries: int | None = None
    bytes: int | None = None


class CacheFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A cache of a worker.

    Attributes:
        name: ``video_info``, ``metadata``, ``negative``, ``format_choice``, ``upload_date``,
            ``files``.
        levels: the nearest first.
        evictions: number of removed entries by reason; ``ttl`` are the expired ones.
    """

    name: str
    levels: tuple[CacheLevelState, ...]
    evictions: dict[str, int] = {}


class CacheState(msgspec.Struct, frozen=True, kw_only=True):
    """The caches of a stage in one worker. Key: ``cache/<stage>/<worker>``.

    Attributes:
        worker: its name, as in the consumer groups of its stages.
        started_at: start of the counters.
        at: time of the figures.
    """

    stage: str
    worker: str
    started_at: Moment
    caches: tuple[CacheFigures, ...]
    at: Moment


class EngineState(msgspec.Struct, frozen=True, kw_only=True):
    """The extraction engine of one worker; counters start with it. Key: ``engine/<worker>``.

    Attributes:
        worker: its name, as in the consumer groups of its stages.
        started_at: start of the engine.
        versions: of the processes' libraries.
        has_own_packages: ``engine.packages_dir`` replaces the installed yt-dlp.
        impersonation: whether requests can impersonate a browser.
        native_proof_of_work: whether challenges are solved by the compiled library.
        processes: configured number.
        processes_alive: processes that accept jobs.
        jobs_in_flight: jobs assigned to processes.
        jobs_waiting: jobs in the queue.
        restarts: processes started as a replacement: after kills, crashes and for recycling.
        kills: processes killed after a job's deadline or a heartbeat timeout.
        crashes: processes that ended by themselves or were killed from outside.
        start_failures: processes that did not become ready.
        at: time of the state.
    """

    worker: str
    started_at: Moment
    versions: EngineVersions | None
    has_own_packages: bool
    impersonation: bool
    native_proof_of_work: bool
    processes: int
    processes_alive: int
    jobs_in_flight: int
    jobs_waiting: int
    restarts: int
    kills: int
    crashes: int
    start_failures: int
    at: Moment


class MediaHostWait(msgspec.Struct, frozen=True, kw_only=True):
    """A video waits for a media host that its platform does not list.

    Key: ``media-host/<platform>/<host>/<video key>``.

    Attributes:
        host: name of the host, lower case.
        video: key of the video.
        until: end of the wait, unless it is published again: the next attempt, and the time for it.
        at: time of the failure.
    """

    platform: str
    host: str
    video: str
    until: Moment
    at: Moment

    @property
    def name(self) -> str:
        """Name of the wait among all platforms: ``tiktok/cdn.example.net/tiktok:760…``."""
        return f"{self.platform}/{self.host}/{self.video}"
