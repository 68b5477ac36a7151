"""Explains errors of media at hosts that a platform does not list, and ends the waits for them."""

from schemas.errors import ClipmillError, ErrorCode
from schemas.signals import MEDIA_HOST
from streams.media_host_waits import MediaHostWaits, is_host_name, setting_of, videos_wait
from streams.records import Outgoing
from streams.topics import SIGNALS

HOSTS_PER_VIDEO_MAX = 3
"""Hosts of one page that are reported; a platform's page names the servers of one CDN."""


def unknown_hosts(code: ErrorCode, details: dict[str, str]) -> tuple[str, ...]:
    """Return the host names of an error that a setting could permit."""
    if code is not ErrorCode.PLATFORM_CHANGED:
        return ()
    named = details.get("hosts") or details.get("host") or ""
    hosts = dict.fromkeys(named.lower().split(", ")[:HOSTS_PER_VIDEO_MAX])
    return tuple(filter(is_host_name, hosts))


class UnknownHosts:
    """Names setting and waiting videos in the errors of a stage.

    Args:
        waits: videos that wait for such hosts, of all workers.
    """

    def __init__(self, waits: MediaHostWaits) -> None:
        self.waits = waits

    def explained(self, error: ClipmillError, platform: str, video: str) -> ClipmillError:
        """Return the error of an unknown host with its setting; any other one as it is."""
        hosts = unknown_hosts(error.code, error.details)
        if not hosts:
            return error
        waiting = {video}.union(*(self.waits.videos(platform, host) for host in hosts))
        setting, count = setting_of(platform), len(waiting)
        reason = _reason(hosts, platform, setting, videos_wait(count))
        details = {"hosts": ", ".join(hosts), "setting": setting, "videos": str(count)}
        explained = ClipmillError(error.code, reason, retry_after=error.retry_after)
        explained.details = {**error.details, **details, "reason": reason}
        return explained

    def ends(self, video: str) -> list[Outgoing]:
        """Return the records that end the waits of a video, which has its files now."""
        keys = (f"{MEDIA_HOST}{each.name}" for each in self.waits.of_video(video))
        return [Outgoing(SIGNALS, key.encode(), None) for key in keys]


def _reason(hosts: tuple[str, ...], platform: str, setting: str, waiting: str) -> str:
    if len(hosts) == 1:
        return (
            f"a media link leads to {hosts[0]}, which is not a host of {platform}; if it is one,"
            f' add ".{hosts[0]}" to the setting {setting}; {waiting} for it'
        )
    return (
        f"the media links lead to {', '.join(hosts)}, which are not hosts of {platform}; if they"
        f" are, add each with a leading dot to the setting {setting}; {waiting} for them"
    )
