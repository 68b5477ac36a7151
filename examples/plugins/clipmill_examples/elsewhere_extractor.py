"""yt-dlp extractor of the site; only the processes of the engine import it."""

from typing import Any

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError


class ElsewhereIE(InfoExtractor):
    """Reads a clip from the site's API."""

    _VALID_URL = r"https?://clips\.elsewhere\.example/c/(?P<id>[0-9]+)"

    def _real_extract(self, url: str) -> dict[str, Any]:
        clip_id = self._match_id(url)
        address = f"https://clips.elsewhere.example/api/clips/{clip_id}"
        clip = self._download_json(address, clip_id)
        if clip.get("withdrawn"):
            raise ExtractorError("the clip was withdrawn", expected=True)
        return {
            "id": clip_id,
            "title": clip["title"],
            "uploader": clip.get("author"),
            "duration": clip.get("seconds"),
            "thumbnail": clip.get("cover"),
            "formats": [
                {
                    "format_id": "mp4",
                    "url": clip["file"],
                    "ext": "mp4",
                    "vcodec": "h264",
                    "acodec": "aac",
                    "width": clip.get("width"),
                    "height": clip.get("height"),
                }
            ],
        }
