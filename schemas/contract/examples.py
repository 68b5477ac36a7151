"""Valid messages for the documents of the contract: one video through the pipeline."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.attempts import AttemptRecord, BreakerCommand, NetworkAttempt, TrialRequest
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    OptionChanges,
    RecordOrder,
    Refresh,
    ResetBreaker,
    ResumeStage,
    Retry,
)
from schemas.deadletters import DeadLetterStatus
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.events import (
    ExtractedVideo,
    FailedRecord,
    Failure,
    PendingLink,
    Progress,
    SelectedVideo,
    ValidatedListing,
    ValidatedVideo,
)
from schemas.files import StoredFile
from schemas.heartbeat import Heartbeat
from schemas.job import Attempt, Job
from schemas.listing import ListingRef
from schemas.request import Options
from schemas.results import (
    BatchCounts,
    BatchFinished,
    Cancelled,
    Completed,
    Expired,
    Failed,
    PublishedResult,
    Rejected,
)
from schemas.signals import (
    AccountState,
    BreakerState,
    CacheFigures,
    CacheLevelState,
    CacheState,
    CancelSignal,
    EngineState,
    IntakeSignal,
    MediaHostWait,
    RateState,
    RefreshSignal,
)
from schemas.video import (
    Author,
    Cookie,
    EngineVersions,
    Extraction,
    SelectedSource,
    Statistics,
    VideoFormat,
    VideoInfo,
    VideoRef,
)

_START = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
_URL = "https://www.tiktok.com/@example/video/7608826249200356630"
_SHORT_URL = "https://vm.tiktok.com/ZMexample/"
_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_ENGINE = EngineVersions(yt_dlp="2026.10.26", curl_cffi="0.16.3")

REQUESTS: tuple[dict[str, Any], ...] = (
    {"url": _URL},
    {
        "id": "archive-2026-11-02",
        "urls": [_URL, _SHORT_URL],
        "action": "download",
        "options": {"quality": "720p", "container": "mp4", "max_bytes": 50_000_000},
        "deadline": "2026-11-02T10:00:00Z",
        "priority": 7,
        "attributes": {"collection": "autumn"},
    },
    {"id": "again-1", "url": _URL, "action": "info", "retry_of": "archive-2026-11-02/0"},
)

CANCEL = Cancel(id="cancel-1", request_id="order-4", by="ann")
COMMANDS: tuple[Command, ...] = (
    CANCEL,
    Retry(
        request_id="order-3",
        new_id="order-3-again",
        options=OptionChanges(quality="480p"),
        by="ann",
    ),
    Refresh(video="tiktok:7608826249200356630"),
    OpenBreaker(breaker="tiktok:extract:direct", by="ann"),
    ResetBreaker(breaker="tiktok:extract:direct", by="ann"),
    ResumeStage(stage="download", by="ann"),
    RecordOrder(
        order="retry_all",
        subject="5f0c9a3e1b7d2468",
        count=300,
        note="error=content.not_found",
        by="ann",
    ),
)

_JOB = Job(
    request_id="order-1",
    url=_URL,
    action="download",
    options=Options(quality="720p"),
    received_at=_START,
    trace_id=_TRACE_ID,
    deadline=_START + timedelta(minutes=30),
    attributes={"collection": "autumn"},
    timings={"validation": 0.002},
)
_VIDEO = VideoRef(platform="tiktok", id="7608826249200356630", url=_URL)
_FORMAT = VideoFormat(
    format_id="h264_720p_1200000-1",
    container="mp4",
    video_codec="h264",
    audio_codec="aac",
    width=720,
    height=1280,
    bits_per_second=1_200_000,
    bytes=4_812_345,
)
_INFO = VideoInfo(
    platform="tiktok",
    id=_VIDEO.id,
    url=_URL,
    title="Autumn leaves",
    author=Author(id="6813", name="example", display_name="An Example"),
    statistics=Statistics(views=120_300, likes=8_112, comments=97, reposts=41, saves=230),
    published_at=_START - timedelta(days=3),
    duration_seconds=31.5,
    formats=(_FORMAT,),
)

PENDING_LINK = PendingLink(job=msgspec.structs.replace(_JOB, url=_SHORT_URL))
VALIDATED_VIDEO = ValidatedVideo(job=_JOB, video=_VIDEO)
_LISTING = ListingRef(
    platform="tiktok", kind="profile", id="clipmill", url="https://www.tiktok.com/@clipmill"
)
VALIDATED_LISTING = ValidatedListing(
    job=msgspec.structs.replace(
        _JOB,
        url=_LISTING.url,
        action="list",
        options=msgspec.structs.replace(_JOB.options, limit=20),
    ),
    listing=_LISTING,
)
EXTRACTED_VIDEO = ExtractedVideo(
    job=_JOB,
    video=_VIDEO,
    extraction=Extraction(
        raw=msgspec.Raw(encode({"id": _VIDEO.id, "title": "Autumn leaves", "formats": []})),
        engine=_ENGINE,
        extracted_at=_START + timedelta(seconds=1),
        cookies=(Cookie(name="tt_chain_token", value="c2Vzc2lvbg==", domain=".tiktok.com"),),
    ),
    cache="miss",
)
SELECTED_VIDEO = SelectedVideo(
    job=_JOB,
    video=_VIDEO,
    info=_INFO,
    sources=(
        SelectedSource(
            format=_FORMAT,
            url="https://v16-webapp-prime.tiktok.com/video/example/?expire=1793662200",
            headers={"Referer": _URL},
        ),
    ),
    cache="miss",
    engine=_ENGINE,
)

_ATTEMPT = Attempt(
    step="extraction", code=ErrorCode.NETWORK_TIMEOUT, at=_START + timedelta(seconds=16)
)
_TIMED_OUT = explain(
    ErrorCode.NETWORK_TIMEOUT,
    operation="extraction",
    url=_URL,
    details={"reason": "no answer within 15 s"},
)

FAILURE = Failure(
    job=_JOB,
    step="extraction",
    error=_TIMED_OUT,
    failed_at=_ATTEMPT.at,
    record=FailedRecord(
        topic="videos.validated",
        partition=2,
        offset=4_711,
        timestamp=_START.timestamp(),
        key=_VIDEO.key.encode(),
        value=encode(VALIDATED_VIDEO),
        headers=(("ce_type", b"io.clipmill.video.validated.v1"),),
    ),
    platform="tiktok",
    subject=_VIDEO.key,
    operation="extract",
    egress="direct",
)

PROGRESS = Progress(
    request_id=_JOB.request_id,
    video_key=_VIDEO.key,
    format_id=_FORMAT.format_id,
    bytes=1_048_576,
    total_bytes=_FORMAT.bytes,
    bytes_per_second=2_400_000.0,
    eta_seconds=1.6,
    at=_START + timedelta(seconds=20),
)


def _common(request_id: str, **more: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "url": _URL,
        "received_at": _START,
        "finished_at": _START + timedelta(seconds=24),
        "trace_id": _TRACE_ID,
        **more,
    }


COMPLETED = Completed(
    **_common("order-1", attempts=2, attributes={"collection": "autumn"}),
    timings={"validation": 0.002, "extraction": 0.41, "selection": 0.001, "download": 2.03},
    video=_INFO,
    cache="miss",
    engine=_ENGINE,
    files=(
        StoredFile(
            uri="file:///data/files/tiktok/7608826249200356630-h264_720p_1200000-1.mp4",
            bytes=4_812_345,
            sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            mime_type="video/mp4",
            format_id=_FORMAT.format_id,
            width=720,
            height=1280,
            duration_seconds=31.5,
            codec="h264",
        ),
    ),
    recovery=(_ATTEMPT,),
)
REJECTED = Rejected(
    **_common("order-2"),
    error=explain(
        ErrorCode.REQUEST_INVALID,
        operation="validation",
        url=_URL,
        details={"field": "$.options.quality", "reason": "Invalid enum value '8k'"},
    ),
)
FAILED = Failed(
    **_common("order-3", attempts=5, retry_of="order-1"),
    error=_TIMED_OUT,
    recovery=(_ATTEMPT,),
)
EXPIRED = Expired(
    **_common("archive-2026-11-02/1", batch_id="archive-2026-11-02", batch_index=1, batch_size=2),
    error=explain(ErrorCode.REQUEST_EXPIRED, operation="download", url=_URL),
)
CANCELLED = Cancelled(
    **_common("order-4"),
    error=explain(ErrorCode.REQUEST_CANCELLED, operation="extraction", url=_URL),
)
BATCH_FINISHED = BatchFinished(
    request_id="archive-2026-11-02",
    batch_size=2,
    counts=BatchCounts(completed=1, expired=1),
    received_at=_START,
    finished_at=_START + timedelta(minutes=30),
    trace_id=_TRACE_ID,
    attributes={"collection": "autumn"},
)
RESULTS: tuple[PublishedResult, ...] = (
    COMPLETED,
    REJECTED,
    FAILED,
    EXPIRED,
    CANCELLED,
    BATCH_FINISHED,
)

AUDIT_RECORDS = (
    AuditRecord(
        request_id=_JOB.request_id,
        step="extraction",
        transition="extracted",
        at=_START + timedelta(seconds=1),
        detail={"cache": "miss"},
    ),
    AuditRecord(
        request_id="order-4",
        step="extraction",
        transition="finished",
        at=CANCELLED.finished_at,
        outcome=msgspec.Raw(encode(CANCELLED)),
    ),
    AuditRecord(
        request_id="order-4",
        step="commands",
        transition="ordered",
        at=CANCELLED.finished_at,
        detail={"command": "cancel", "by": "ann"},
        command=CANCEL,
    ),
)

_ENDPOINT: dict[str, Any] = {"platform": "tiktok", "operation": "extract", "egress": "direct"}
_TRIAL = "order-5:extract:1"
ATTEMPTS: tuple[AttemptRecord, ...] = (
    NetworkAttempt(
        **_ENDPOINT,
        request_id=_JOB.request_id,
        subject=_VIDEO.key,
        code=ErrorCode.NETWORK_TIMEOUT,
        seconds=15.0,
        at=_ATTEMPT.at,
    ),
    TrialRequest(**_ENDPOINT, trial=_TRIAL, at=_START + timedelta(minutes=2)),
    BreakerCommand(**_ENDPOINT, action="open", by="ann", at=_START + timedelta(minutes=5)),
)

BREAKER_STATES: tuple[BreakerState, ...] = (
    BreakerState(
        **_ENDPOINT,
        state="open",
        reason=ErrorCode.NETWORK_TIMEOUT,
        since=_ATTEMPT.at,
        until=_ATTEMPT.at + timedelta(seconds=30),
        openings=1,
    ),
    BreakerState(
        **_ENDPOINT,
        state="half_open",
        reason=ErrorCode.NETWORK_TIMEOUT,
        since=_START + timedelta(minutes=2),
        openings=1,
        trials=(_TRIAL,),
        trials_max=5,
    ),
)
RATE_STATES: tuple[RateState, ...] = (
    RateState(
        **_ENDPOINT,
        requests_per_second=2.5,
        reason=ErrorCode.RATE_LIMIT_API,
        since=_ATTEMPT.at,
        until=_ATTEMPT.at + timedelta(seconds=30),
        cuts=1,
    ),
    RateState(**_ENDPOINT, since=_START + timedelta(minutes=5), cuts=1),
)
ACCOUNT_STATE = AccountState(
    platform="tiktok",
    account="main",
    healthy=True,
    last_success_at=_START,
    expires_at=_START + timedelta(days=30),
    at=_START + timedelta(minutes=5),
)
CACHE_STATE = CacheState(
    stage="extraction",
    worker="box-1-6f3a9c01",
    started_at=_START,
    caches=(
        CacheFigures(
            name="video_info",
            levels=(
                CacheLevelState(level="front", hits=890, misses=110, entries=212, bytes=2_400_000),
                CacheLevelState(level="table", hits=60, misses=50, entries=4_100, bytes=8_600_000),
            ),
            evictions={"ttl": 31},
        ),
        CacheFigures(
            name="negative",
            levels=(CacheLevelState(level="memory", hits=4, misses=50, entries=3, bytes=2_600),),
        ),
    ),
    at=_START + timedelta(minutes=5),
)
ENGINE_STATE = EngineState(
    worker="box-1-6f3a9c01",
    started_at=_START,
    versions=EngineVersions(yt_dlp="2026.10.26", curl_cffi="0.16.3"),
    has_own_packages=False,
    impersonation=True,
    native_proof_of_work=True,
    processes=2,
    processes_alive=2,
    jobs_in_flight=3,
    jobs_waiting=0,
    restarts=1,
    kills=1,
    crashes=0,
    start_failures=0,
    at=_START + timedelta(minutes=5),
)
MEDIA_HOST_WAIT = MediaHostWait(
    platform="tiktok",
    host="cdn.example.net",
    video="tiktok:7608826249200356630",
    until=_START + timedelta(minutes=15),
    at=_START,
)
CANCEL_SIGNAL = CancelSignal(by="ann", at=CANCELLED.finished_at)
REFRESH_SIGNAL = RefreshSignal(by="ann", at=_START)
DEAD_LETTER_STATUS = DeadLetterStatus(
    state="replayed", by="operator", at=_START + timedelta(hours=2), note="yt-dlp was updated"
)

HEARTBEAT = Heartbeat(at=_START)

INTAKE_SIGNAL = IntakeSignal(
    paused=True, reason="100 dead letters within 60 s", by="download", at=_START
)
