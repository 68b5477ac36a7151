"""selection: which format of the video answers the request? Pure rules, nothing is fetched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.caching.metadata import MetadataCache
from agents.platforms.choice import choose_files
from agents.platforms.registry import Platforms
from agents.step import Passed, Product, bug_handler, step_handler
from schemas.events import ExtractedVideo, SelectedVideo
from streams.stage import Handler, Stage, StageContext
from streams.topics import EXTRACTED

NAME = "selection"


class Selection:
    """The stage's work."""

    def __init__(self, platforms: Platforms) -> None:
        self._platforms = platforms
        self._metadata = MetadataCache()

    async def work(self, event: ExtractedVideo) -> Product:
        """Return the video with the files to fetch."""
        platform = self._platforms.by_name(event.video.platform)
        info, offered = self._metadata.read(platform, event.video, event.extraction)
        sources = {source.format.format_id: source for source in offered}
        formats = [source.format for source in sources.values()]
        chosen = choose_files(formats, event.job.options, event.job.avoid_formats)
        selected = SelectedVideo(
            job=event.job,
            video=event.video,
            info=info,
            sources=tuple(sources[each.format_id] for each in chosen),
            cache=event.cache,
            engine=event.extraction.engine,
        )
        ids = " ".join(each.format_id for each in chosen)
        return Passed(selected, "selected", detail={"format_id": ids})


@asynccontextmanager
async def open_selection(context: StageContext) -> AsyncIterator[Handler]:
    """Nothing to open."""
    yield step_handler(NAME, ExtractedVideo, Selection(Platforms.load()).work, context.signals)


stage = Stage(
    name=NAME,
    sources=(EXTRACTED,),
    open=open_selection,
    on_bug=bug_handler(NAME, ExtractedVideo),
    ordered=False,
)
