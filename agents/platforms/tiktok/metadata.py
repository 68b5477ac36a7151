"""Maps yt-dlp's dictionary of a TikTok post to a `VideoInfo`. Every field may be missing."""

from msgspec.structs import replace

from agents.platforms import description
from agents.platforms.fields import Fields, text
from agents.platforms.tiktok.photos import missing_pictures, read_pictures
from agents.platforms.tiktok.urls import profile_url
from schemas.video import VideoFormat, VideoInfo, VideoRef


def read_info(fields: Fields, video: VideoRef, formats: tuple[VideoFormat, ...]) -> VideoInfo:
    """Return the description of a post.

    Photo posts have no cover: the thumbnail is the first picture.

    Args:
        fields: yt-dlp's dictionary, as `TikTokIE` returns it.
        video: supplies platform, id and URL; those of the dictionary are not trusted.
        formats: formats that the page offers.
    """
    info = description.read_info(fields, video, formats, site="TikTok")
    stills = (each.url for each in read_pictures(fields) if not each.format.motion)
    picture, missing = next(stills, None), missing_pictures(fields)
    return replace(
        info,
        content="photos" if missing or any(each.picture for each in formats) else "video",
        missing_pictures=missing,
        author=replace(info.author, url=profile_url(info.author.name)),
        thumbnail_url=info.thumbnail_url or picture,
        redirected_to=text(fields, "redirected_to", limit=20),
    )
