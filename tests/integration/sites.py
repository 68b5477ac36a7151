"""Sites beside TikTok with the links of their posts, and readers of those."""

from agents.platforms.configured import ConfiguredPlatform
from agents.platforms.douyin import Douyin
from agents.platforms.facebook import Facebook
from agents.platforms.instagram import Instagram
from agents.platforms.interface import Platform
from agents.platforms.reddit import Reddit
from agents.platforms.vimeo import Vimeo
from agents.platforms.x import X
from agents.platforms.youtube import YouTube
from schemas.video import Extraction, VideoRef
from tests.integration.failure_samples import EngineHarness
from tests.site_settings import settings_of
from tests.standin import video_id
from tests.standin.youtube import short_id

DEADLINE_SECONDS = 30
"""The first reader of a stream waits until it is encoded."""

PLATFORMS: dict[str, Platform] = {
    "douyin": Douyin(),
    "facebook": Facebook(),
    "instagram": Instagram(),
    "reddit": Reddit(),
    "twitch": ConfiguredPlatform("twitch", settings_of("twitch")),
    "vimeo": Vimeo(),
    "x": X(),
    "youtube": YouTube(),
}
URLS = {
    "douyin": "https://www.douyin.com/video/{}",
    "facebook": "https://www.facebook.com/reel/{}",
    "instagram": "https://www.instagram.com/reel/{}/",
    "reddit": "https://www.reddit.com/r/clips/comments/{}/a_clip/",
    "twitch": "https://clips.twitch.tv/{}",
    "vimeo": "https://vimeo.com/{}",
    "x": "https://x.com/someone/status/{}",
    "youtube": "https://www.youtube.com/shorts/{}",
}


def post_of(site: str, scenario: str) -> VideoRef:
    post = short_id(video_id(scenario)) if site == "youtube" else video_id(scenario)
    found = PLATFORMS[site].parse_url(URLS[site].format(post))
    assert isinstance(found, VideoRef)
    return found


async def read(harness: EngineHarness, site: str, scenario: str) -> Extraction:
    video = post_of(site, scenario)
    return await PLATFORMS[site].get_video_info(
        video, harness.pool, egress="direct", deadline_seconds=DEADLINE_SECONDS
    )
