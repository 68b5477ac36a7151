"""The pipeline: stages with their consumer groups, workers, engines, topics."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from schemas.contract.examples import ENGINE_STATE
from schemas.signals import EngineState
from streams.console.health.shared_states import engines
from streams.console.http_messages import json_response
from streams.console.pipeline import PipelineView
from streams.console.rendering import render
from streams.console.routes import RouteOperation, Routes
from streams.console.services import SERVICES

ROUTES = Routes()


class EngineList(msgspec.Struct, frozen=True, kw_only=True):
    """The engines of all workers that run, by worker."""

    engines: tuple[EngineState, ...]


@ROUTES.get("/pipeline")
async def pipeline_page(request: web.Request) -> web.StreamResponse:
    services = request.app[SERVICES]
    view = await services.pipeline.view(services.shared_state)
    return render(
        request,
        "pipeline.html",
        view=view,
        workers=view.workers(),
        engines=engines(services.shared_state, datetime.now(UTC)),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/topics",
        name="listTopics",
        summary="Return the topics with their offsets, and the stages with their consumer groups, "
        "members and lag; at most 5 seconds old.",
        response=PipelineView,
        example={
            "read_at": "2026-11-02T09:00:00Z",
            "topics": [
                {
                    "name": "clipmill.videos.selected.v1",
                    "key": "video key",
                    "purpose": "Videos to download.",
                    "retention_seconds": 604_800.0,
                    "compacted": False,
                    "partitions": [{"partition": 0, "begin_offset": 0, "end_offset": 812}],
                    "produced_by": ["selection"],
                    "consumed_by": ["download"],
                }
            ],
            "stages": [
                {
                    "name": "download",
                    "purpose": "downloads the files of a video",
                    "group": "clipmill.download",
                    "state": "Stable",
                    "members": [
                        {
                            "name": "worker-1",
                            "host": "10.0.0.7",
                            "partitions": {"clipmill.videos.selected.v1": [0]},
                        }
                    ],
                    "lag": [{"topic": "clipmill.videos.selected.v1", "lag": 3}],
                    "paused": None,
                    "error": None,
                }
            ],
        },
        errors=(401, 403, 503),
    )
)
async def list_topics(request: web.Request) -> web.StreamResponse:
    services = request.app[SERVICES]
    return json_response(msgspec.to_builtins(await services.pipeline.view(services.shared_state)))


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/engine",
        name="showEngine",
        summary="Return the extraction engine of each worker, at most 2 minutes old.",
        response=EngineList,
        example=msgspec.to_builtins(EngineList(engines=(ENGINE_STATE,))),
    )
)
async def show_engine(request: web.Request) -> web.StreamResponse:
    shared_state = request.app[SERVICES].shared_state
    found = EngineList(engines=engines(shared_state, datetime.now(UTC)))
    return json_response(msgspec.to_builtins(found))
