"""Media downloaders of a stage, one for each egress."""

from contextlib import AsyncExitStack

from agents.access.egress import open_egresses
from agents.network.bandwidth import BandwidthLimiter
from agents.network.download import MediaDownloader
from agents.network.session import CONNECTIONS, open_session
from streams.settings import Settings


async def open_fetchers(settings: Settings, stack: AsyncExitStack) -> dict[str, MediaDownloader]:
    """Return a downloader per egress; those of one call share the bandwidth limit."""
    bandwidth = BandwidthLimiter(settings.download.bytes_per_second)
    connections = max(CONNECTIONS, settings.limits.download_tasks)
    fetchers: dict[str, MediaDownloader] = {}
    for name, egress in open_egresses(settings).items():
        session = await stack.enter_async_context(open_session(egress, connections=connections))
        fetchers[name] = MediaDownloader(session, bandwidth=bandwidth)
    return fetchers
