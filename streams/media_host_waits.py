"""Videos that wait for media hosts that their platforms do not list, of all workers.

The recovery stage publishes one state per host and video in the topic ``signals``; each ends by
itself. A host is either another CDN of the platform, which a setting permits, or a hostile page's.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.cluster.shared_state import SharedState
from streams.records import Outgoing
from streams.settings.platforms import HOST_PATTERN
from streams.topics import SIGNALS

HOSTS_MAX = 20
"""Unknown hosts per platform. A hostile page can name any number; a new CDN has a few."""

VIDEOS_MAX = 200
"""Videos per unknown host that are counted. The exact number of more is no help."""

HOSTS_PER_VIDEO_MAX = 3
"""Hosts of one page that are reported; a platform's page names the servers of one CDN."""

HOST_CHARACTERS_MAX = 253  # RFC 1035

_HOST = re.compile(HOST_PATTERN, re.ASCII)


class WaitingHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that videos of a platform wait for.

    Attributes:
        videos: number of them; `VIDEOS_MAX` may be more.
    """

    platform: str
    host: str
    videos: int


def setting_of(platform: str) -> str:
    return f"platforms.{platform}.media_hosts"


def is_host_name(text: str) -> bool:
    """Return whether a host can be added to the setting; an IP address cannot."""
    return len(text) <= HOST_CHARACTERS_MAX and _HOST.fullmatch(text) is not None


def unknown_hosts(code: ErrorCode, details: dict[str, str]) -> tuple[str, ...]:
    """Return the host names of an error that a setting could permit."""
    if code is not ErrorCode.PLATFORM_CHANGED:
        return ()
    named = details.get("hosts") or details.get("host") or ""
    hosts = dict.fromkeys(named.lower().split(", ")[:HOSTS_PER_VIDEO_MAX])
    return tuple(filter(is_host_name, hosts))


def videos_wait(count: int) -> str:
    """Return the subject and verb of a sentence: ``3 videos wait``."""
    number = f"{count} or more" if count >= VIDEOS_MAX else str(count)
    return "1 video waits" if count == 1 else f"{number} videos wait"


class MediaHostWaits:
    """Index of the states by platform, host and video.

    Args:
        clock: now; a state counts until its end.

    Attributes:
        states: by key.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._by_host: dict[tuple[str, str], dict[str, MediaHostWait]] = {}
        self.states: dict[str, MediaHostWait] = {}

    def apply(self, key: str, value: bytes | None) -> None:
        """Apply a change of the shared state; malformed states are left out."""
        self._remove(key)
        if value is None:
            return
        try:
            state = decode(value, MediaHostWait)
        except MalformedMessageError:
            return
        if not is_host_name(state.host) or key != f"{MEDIA_HOST}{state.name}":
            return
        self.states[key] = state
        self._by_host.setdefault((state.platform, state.host), {})[state.video] = state

    def _remove(self, key: str) -> None:
        state = self.states.pop(key, None)
        if state is None:
            return
        videos = self._by_host[state.platform, state.host]
        videos.pop(state.video, None)
        if not videos:
            del self._by_host[state.platform, state.host]

    def videos(self, platform: str, host: str) -> set[str]:
        """Return the keys of the videos that wait for a host."""
        now = self._clock()
        waiting = self._by_host.get((platform, host), {}).values()
        return {each.video for each in waiting if each.until > now}

    def hosts(self) -> list[WaitingHost]:
        """Return the hosts, the one that most videos wait for first."""
        counts = ((*name, len(self.videos(*name))) for name in self._by_host)
        found = [
            WaitingHost(platform=platform, host=host, videos=min(count, VIDEOS_MAX))
            for platform, host, count in counts
            if count
        ]
        return sorted(found, key=lambda each: (-each.videos, each.platform, each.host))

    def of_video(self, video: str) -> list[MediaHostWait]:
        """Return the states of a video, ended ones too."""
        return [each[video] for each in self._by_host.values() if video in each]

    def explained(self, error: ClipmillError, platform: str, video: str) -> ClipmillError:
        """Return the error of an unknown host with its setting; any other one as it is."""
        hosts = unknown_hosts(error.code, error.details)
        if not hosts:
            return error
        waiting = {video}.union(*(self.videos(platform, host) for host in hosts))
        setting, count = setting_of(platform), len(waiting)
        reason = _reason(hosts, platform, setting, videos_wait(count))
        details = {"hosts": ", ".join(hosts), "setting": setting, "videos": str(count)}
        explained = ClipmillError(error.code, reason, retry_after=error.retry_after)
        explained.details = {**error.details, **details, "reason": reason}
        return explained

    def ends(self, video: str) -> list[Outgoing]:
        """Return the records that end the waits of a video, which has its files now."""
        keys = (f"{MEDIA_HOST}{each.name}" for each in self.of_video(video))
        return [Outgoing(SIGNALS, key.encode(), None) for key in keys]

    def has_room(self, platform: str, host: str, video: str) -> bool:
        """Return whether a state of these can be added within the bounds."""
        videos = self._by_host.get((platform, host))
        if videos is None:
            return sum(name == platform for name, _ in self._by_host) < HOSTS_MAX
        return video in videos or len(videos) < VIDEOS_MAX

    def ended(self) -> list[str]:
        """Return the keys of the states whose time is over."""
        now = self._clock()
        return [key for key, each in self.states.items() if each.until <= now]


def read_waiting_hosts(states: Iterable[tuple[str, bytes]]) -> list[WaitingHost]:
    """Return the hosts of states, given by key and value."""
    waits = MediaHostWaits()
    for key, value in states:
        waits.apply(key, value)
    return waits.hosts()


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


@contextmanager
def follow_media_host_waits(shared_state: SharedState) -> Iterator[MediaHostWaits]:
    """Yield an index that follows the shared state during the block."""
    waits = MediaHostWaits()
    with shared_state.listen(MEDIA_HOST, waits.apply):
        yield waits
