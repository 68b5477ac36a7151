"""Egresses of the settings, shared by all network tools."""

from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from agents.network.bandwidth import BandwidthLimiter
from agents.network.download import MediaDownloader
from agents.network.egress import DIRECT, Egress, write_ca_bundle
from agents.network.session import CONNECTIONS, open_session
from streams.settings import Settings

PROXY = "proxy"
"""Egress name of a single proxy in the settings."""


def egress_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the egresses, in the order of the settings."""
    return tuple(_proxies(settings))


def egress_hosts(settings: Settings) -> dict[str, str]:
    """Return host and port of the proxies by egress name, without credentials."""
    proxies = ((name, proxy) for name, proxy in _proxies(settings).items() if proxy)
    return {name: urlsplit(proxy).netloc.rpartition("@")[2] for name, proxy in proxies}


def open_egresses(settings: Settings) -> dict[str, Egress]:
    """Return the egresses by name, and write the bundle of trusted roots.

    Raises:
        ClipmillError: ``system.config``; the file with additional roots cannot be used.
    """
    ca_file = settings.egress.ca_file
    target = settings.data_dir / "ca-bundle.pem"
    bundle = None if ca_file is None else write_ca_bundle(ca_file, target)
    return {
        name: Egress(name=name, proxy=proxy, ca_file=ca_file, ca_bundle=bundle)
        for name, proxy in _proxies(settings).items()
    }


def _proxies(settings: Settings) -> dict[str, str | None]:
    chosen = settings.egress
    if chosen.proxies:
        return dict(chosen.proxies)
    return {DIRECT: None} if chosen.proxy is None else {PROXY: chosen.proxy}


async def open_fetchers(settings: Settings, stack: AsyncExitStack) -> dict[str, MediaDownloader]:
    """Return a downloader per egress; those of one call share the bandwidth limit."""
    bandwidth = BandwidthLimiter(settings.download.bytes_per_second)
    connections = max(CONNECTIONS, settings.limits.download_tasks)
    fetchers: dict[str, MediaDownloader] = {}
    for name, egress in open_egresses(settings).items():
        session = await stack.enter_async_context(open_session(egress, connections=connections))
        fetchers[name] = MediaDownloader(session, bandwidth=bandwidth)
    return fetchers
