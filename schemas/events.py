"""What one step hands to the next."""

from typing import Literal

import msgspec

from schemas.job import Job
from schemas.listing import ListingRef
from schemas.video import EngineVersions, Extraction, SelectedSource, VideoInfo, VideoRef

CacheUse = Literal["hit", "miss", "stale"]


class PendingLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that goes back to validation because its short link could not be resolved yet."""

    job: Job


class ValidatedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: this URL is this video."""

    job: Job
    video: VideoRef


class ValidatedListing(msgspec.Struct, frozen=True, kw_only=True):
    """validation to extraction: this URL is this profile, collection or playlist."""

    job: Job
    listing: ListingRef


class ExtractedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """extraction to selection: this is what its page says."""

    job: Job
    video: VideoRef
    extraction: Extraction
    cache: CacheUse


class SelectedVideo(msgspec.Struct, frozen=True, kw_only=True):
    """selection to download: fetch these files.

    One for a video; of a photo post every picture, and its music.
    """

    job: Job
    video: VideoRef
    info: VideoInfo
    sources: tuple[SelectedSource, ...]
    cache: CacheUse
    engine: EngineVersions
