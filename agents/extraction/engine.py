"""Opens the extraction engine of a process: its settings, start-up check, metrics and health."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from agents.engine.interface import PoolSettings
from agents.engine.pool import EnginePool
from agents.network.egress import Egress
from agents.pipeline.worker_states import WorkerStates, publish_periodically
from agents.platforms.extractor_names import check_extractors
from agents.platforms.registry import Platforms
from schemas.signals import ENGINE, EngineState
from streams.observability.metrics import (
    ENGINE_CHALLENGE_SECONDS,
    ENGINE_IMPERSONATION,
    ENGINE_INFO,
    ENGINE_NATIVE_PROOF_OF_WORK,
    ENGINE_PROCESSES,
    ENGINE_RESTARTS,
)
from streams.settings import Settings
from streams.stage import StageContext

log = logging.getLogger(__name__)

STATE_KIND = "engine.changed.v1"


def engine_settings(settings: Settings, preload: tuple[str, ...] = ()) -> PoolSettings:
    """Return the engine's settings; ``preload``: dotted names of the extractors in use."""
    engine = settings.engine
    return PoolSettings(
        processes=engine.processes,
        threads_per_process=engine.threads,
        page_bytes_max=engine.page_bytes,
        request_timeout_seconds=engine.request_timeout_seconds,
        preload=preload,
        packages_dir=engine.packages_dir,
        javascript=engine.javascript,
    )


@asynccontextmanager
async def open_engine(
    context: StageContext, platforms: Platforms, egresses: Mapping[str, Egress]
) -> AsyncIterator[EnginePool]:
    """Run the engine for a stage.

    Raises:
        ClipmillError: ``system.config``; a platform names an extractor that does not exist.
        EngineStartError: a process did not become ready.
    """
    settings = engine_settings(context.settings, platforms.extractors)
    async with EnginePool(
        settings, *egresses.values(), on_challenge=ENGINE_CHALLENGE_SECONDS.observe
    ) as engine:
        await check_extractors(platforms, engine, next(iter(egresses)))
        _export_stats(engine, context)
        _publish_state(engine, context)
        log.info("JavaScript of pages is %s", engine.stats().javascript.summary)
        yield engine


def _publish_state(engine: EnginePool, context: StageContext) -> None:
    """Schedule the publication of the engine's state."""
    started_at = datetime.now(UTC)
    packages_dir = context.settings.engine.packages_dir

    def read(now: datetime) -> EngineState:
        stats = engine.stats()
        return EngineState(
            worker=context.worker,
            started_at=started_at,
            versions=stats.versions,
            has_own_packages=packages_dir is not None,
            impersonation=stats.impersonation,
            native_proof_of_work=stats.native_proof_of_work,
            processes=stats.processes_wanted,
            processes_alive=stats.processes_alive,
            jobs_in_flight=stats.jobs_in_flight,
            jobs_waiting=stats.jobs_waiting,
            restarts=stats.restarts,
            kills=stats.kills,
            crashes=stats.crashes,
            start_failures=stats.start_failures,
            at=now,
        )

    states = WorkerStates(f"{ENGINE}{context.worker}", STATE_KIND, "extraction")
    publish_periodically(context, states, read)


def _export_stats(engine: EnginePool, context: StageContext) -> None:
    """Export the engine's metrics, and register its health check, which updates them."""

    def check() -> str | None:
        stats = engine.stats()
        ENGINE_PROCESSES.set(stats.processes_alive)
        ENGINE_RESTARTS.set(stats.restarts)
        ENGINE_IMPERSONATION.set(stats.impersonation)
        ENGINE_NATIVE_PROOF_OF_WORK.set(stats.native_proof_of_work)
        return None if stats.processes_alive else "no engine process is alive"

    context.checks.append(check)
    versions = engine.stats().versions
    if versions is not None:
        ENGINE_INFO.labels(versions.yt_dlp, versions.curl_cffi).set(1)
