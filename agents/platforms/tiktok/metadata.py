"""What TikTok tells about a post, from yt-dlp's dictionary. Every field may be missing."""

from msgspec.structs import replace

from agents.platforms import description
from agents.platforms.fields import Fields
from agents.platforms.tiktok.photos import read_pictures
from agents.platforms.tiktok.urls import profile_url
from schemas.video import VideoFormat, VideoInfo, VideoRef


def read_info(fields: Fields, video: VideoRef, formats: tuple[VideoFormat, ...]) -> VideoInfo:
    """Return the description of a post.

    Photo posts have no cover: there the thumbnail is the first picture.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        video: whose it is; what the dictionary says about its id and page is not believed.
        formats: the formats that it offers.
    """
    info = description.read_info(fields, video, formats, site="TikTok")
    picture = next((each.url for each in read_pictures(fields)), None)
    return replace(
        info,
        content="photos" if any(each.picture for each in formats) else "video",
        author=replace(info.author, url=profile_url(info.author.name)),
        thumbnail_url=info.thumbnail_url or picture,
    )
