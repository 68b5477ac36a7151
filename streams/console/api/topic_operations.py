"""Operations on topics."""

from streams.console.api.operations import Operation
from streams.console.pipeline_view import PipelineView

OPERATIONS = (
    Operation(
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
    ),
)
