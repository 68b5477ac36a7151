"""Events that one step publishes for the next."""

from typing import Literal

import msgspec

from schemas.job import Job
from schemas.listing import ListingRef
from schemas.subtitles import MissingSubtitles, SubtitleSource
from schemas.video import EngineVersions, Extraction, SelectedSource, VideoInfo, VideoRef

CacheUse = Literal["hit", "miss", "stale"]


class PendingLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """validation to validation: a job to retry, as its short link could not be resolved yet."""

    job: Job


class ValidatedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: the video that the URL identifies."""

    job: Job
    video: VideoRef


class ValidatedListing(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: the profile, collection or playlist that the URL identifies."""

    job: Job
    listing: ListingRef


class ExtractedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """extraction to selection: the content of the video's page."""

    job: Job
    video: VideoRef
    extraction: Extraction
    cache: CacheUse


class SelectedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """selection to download: the files to fetch.

    One file for a video; for a photo post every picture, and its music.

    Attributes:
        subtitles: the requested ones that the page offers.
        missing_subtitles: the requested ones that it does not offer.
    """

    job: Job
    video: VideoRef
    info: VideoInfo
    sources: tuple[SelectedSource, ...]
    cache: CacheUse
    engine: EngineVersions
    subtitles: tuple[SubtitleSource, ...] = ()
    missing_subtitles: tuple[MissingSubtitles, ...] = ()
