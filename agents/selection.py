"""selection: chooses the formats of the video that satisfy the request. Pure rules, no I/O."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agents.caching.format_choice import FormatChoices
from agents.caching.metadata import MetadataCache, UploadDates
from agents.formats.subtitles import SubtitleChoice, choose_subtitles, not_read
from agents.pipeline import STEP_TOPICS, Forward, StepOutcome, bug_handler, step_handler
from agents.pipeline.request_claims import claim_of_extracted
from agents.pipeline.stage_caches import CacheName, open_caches
from agents.platforms import Platforms
from schemas import ExtractedVideo, SelectedVideo
from streams import EXTRACTED, SELECTED, Handler, Stage, StageContext

NAME = "selection"

MEMORY_SHARES: Mapping[CacheName, float] = {
    "metadata": 0.6,
    "format_choice": 0.3,
    "upload_date": 0.1,
}
"""Share of ``cache.memory_bytes`` per cache."""


class Selection:
    """The stage's step.

    Args:
        platforms: the installed platforms.
        pages: cache of parsed page metadata.
        choices: cache of format selections.
        dates: cache of upload dates.
    """

    def __init__(
        self,
        platforms: Platforms,
        *,
        pages: MetadataCache | None = None,
        choices: FormatChoices | None = None,
        dates: UploadDates | None = None,
    ) -> None:
        self._platforms = platforms
        self._pages = pages or MetadataCache()
        self._choices = choices or FormatChoices()
        self._dates = dates or UploadDates()

    async def work(self, event: ExtractedVideo) -> StepOutcome:
        """Do `select`; raises `ClipmillError`."""
        return self.select(event)

    def select(self, event: ExtractedVideo) -> StepOutcome:
        """Forward the video with the sources to download.

        Raises:
            ClipmillError: no format fits the options, or the page cannot be parsed.
        """
        job, video = event.job, event.video
        platform = self._platforms.by_name(video.platform)
        page = self._pages.read(platform, video, event.extraction)
        sources = self._choices.choose(
            video, page, job.options, job.avoid_formats, job.silent_formats
        )
        subtitles = SubtitleChoice()
        if job.options.subtitles:
            offered = page.subtitles
            subtitles = (
                not_read(job.options) if offered is None else choose_subtitles(offered, job.options)
            )
        selected = SelectedVideo(
            job=job,
            video=video,
            info=self._dates.complete(video.key, page.info),
            sources=sources,
            cache=event.cache,
            engine=event.extraction.engine,
            subtitles=subtitles.chosen,
            missing_subtitles=subtitles.missing,
        )
        ids = " ".join(source.format_id for source in sources)
        return Forward(selected, "selected", detail={"format_id": ids})


@asynccontextmanager
async def open_selection(context: StageContext) -> AsyncIterator[Handler]:
    async with open_caches(NAME, context, MEMORY_SHARES) as caches:
        work = Selection(
            Platforms.load(context.settings.platforms),
            pages=caches.metadata(),
            choices=caches.format_choices(),
            dates=caches.upload_dates(),
        )
        yield step_handler(
            NAME, ExtractedVideo, work.work, context.shared_state, work_sync=work.select
        )


stage = Stage(
    name=NAME,
    sources=(EXTRACTED,),
    open=open_selection,
    on_bug=bug_handler(NAME, ExtractedVideo),
    writes=(SELECTED, *STEP_TOPICS),
    purpose="selects the files to download",
    ordered=False,
    claim=claim_of_extracted,
)
