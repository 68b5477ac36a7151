"""yt-dlp extractor of the site; only the processes of the engine import it."""

from collections.abc import Iterator
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
            "formats": list(self._formats(clip, clip_id)),
        }

    def _formats(self, clip: dict[str, Any], clip_id: str) -> Iterator[dict[str, Any]]:
        """Yield the file, and the streams of the manifests; yt-dlp reads those."""
        if address := clip.get("file"):
            yield {
                "format_id": "mp4",
                "url": address,
                "ext": "mp4",
                "vcodec": "h264",
                "acodec": "aac",
                "width": clip.get("width"),
                "height": clip.get("height"),
            }
        if address := clip.get("hls"):
            yield from self._extract_m3u8_formats(address, clip_id, "mp4", m3u8_id="hls")
        if address := clip.get("dash"):
            yield from self._extract_mpd_formats(address, clip_id, mpd_id="dash")
