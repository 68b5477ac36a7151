"""Base class of platforms whose posts hold one video, or several videos and pictures."""

from msgspec.structs import replace

from agents.platforms import formats
from agents.platforms.base import BasePlatform
from agents.platforms.fields import Fields, decode_raw
from agents.platforms.post_files import is_post_of_files, missing_files, read_files
from agents.platforms.single_video import check_single_video
from schemas.video import Extraction, MediaSource, VideoFormat, VideoInfo, VideoRef


class PostPlatform(BasePlatform):
    """A `Platform` of posts: a single video is selected by size, several files are all fetched."""

    def check_page(self, fields: Fields, video: VideoRef) -> None:
        """Verify that the post has a file.

        Raises:
            ClipmillError: ``content.no_formats``, it has none; ``content.unsupported``, it
                refers to another page.
        """
        if not is_post_of_files(fields):
            check_single_video(fields, video)
            super().check_page(fields, video)
        elif not read_files(fields):
            raise formats.no_formats_error(fields, video, self.site)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        fields = decode_raw(extraction.raw)
        if is_post_of_files(fields):
            return read_files(fields, extraction.cookies)
        return super().get_media_sources(extraction)

    def read_info(
        self, fields: Fields, video: VideoRef, offered: tuple[VideoFormat, ...]
    ) -> VideoInfo:
        info = super().read_info(fields, video, offered)
        if not is_post_of_files(fields):
            return info
        return replace(info, content="photos", missing_pictures=missing_files(fields))
