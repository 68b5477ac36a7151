"""Videos whose media are on hosts that their platform does not list, by host.

A new host is either another CDN of the platform, which a setting permits, or a hostile page.
"""

from collections import OrderedDict

from schemas.errors import ClipmillError, ErrorCode

HOSTS_MAX = 1_000
VIDEOS_MAX = 1_000
"""Bounds of the counts of one process; the host that was seen longest ago is forgotten first."""


class UnknownHosts:
    """Counts the videos that wait for a host, and names the setting that would permit it."""

    def __init__(self) -> None:
        self._videos: OrderedDict[tuple[str, str], set[str]] = OrderedDict()

    def explained(self, error: ClipmillError, platform: str, video_key: str) -> ClipmillError:
        """Return the error of a forbidden host with its setting; any other one as it is."""
        host = error.details.get("host")
        if error.code is not ErrorCode.PLATFORM_CHANGED or host is None:
            return error
        count = self._count(platform, host, video_key)
        setting = f"platforms.{platform}.media_hosts"
        waiting = "1 video waits" if count == 1 else f"{count} videos wait"
        explained = ClipmillError(
            error.code,
            f"a media link leads to {host}, which is not a host of {platform}; if it is one, add"
            f' ".{host}" to the setting {setting}; {waiting} for it on this worker',
        )
        explained.details = {**error.details, "setting": setting, "videos": str(count)}
        return explained

    def succeeded(self, platform: str, video_key: str) -> None:
        """Record that a video was downloaded: it waits for no host any more."""
        for (name, _), videos in self._videos.items():
            if name == platform:
                videos.discard(video_key)

    def _count(self, platform: str, host: str, video_key: str) -> int:
        videos = self._videos.setdefault((platform, host), set())
        self._videos.move_to_end((platform, host))
        if len(videos) < VIDEOS_MAX:
            videos.add(video_key)
        if len(self._videos) > HOSTS_MAX:
            self._videos.popitem(last=False)
        return len(videos)
