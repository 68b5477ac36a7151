"""The stand-in as one object: proxies, site and control endpoint."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.standin.certificates import load_authority, server_context
from tests.standin.connections import Listener
from tests.standin.control import Control
from tests.standin.counters import Counters
from tests.standin.proxy import Proxy
from tests.standin.site import Site
from tests.standin.socks import SocksProxy
from tests.standin.switches import Switches


class Standin:
    """A local TikTok in the running event loop; an async context manager.

    Args:
        state_dir: Keeps the CA: the same directory, the same CA.
        port: Of the proxy; 0 takes a free one.
        control_port: Of the control endpoint; 0 takes a free one.
        egresses: Names of further egresses, each with its own port.

    Attributes:
        switches: Its behaviour.
        counters: Its requests.
        ca_file: The root certificate that clients must trust; exists once entered.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int = 0,
        control_port: int = 0,
        egresses: Sequence[str] = (),
    ) -> None:
        self.switches = Switches()
        self.counters = Counters()
        self.ca_file = state_dir / "ca.pem"
        self._state_dir = state_dir
        self._ports = (port, control_port)
        self._egresses = tuple(egresses)
        self._proxies: dict[str, Listener] = {}
        self._socks: dict[str, Listener] = {}
        self._control = Listener(Control(self.switches, self.counters).handle)

    @property
    def proxy_url(self) -> str:
        return self._proxies[""].url

    @property
    def egress_urls(self) -> dict[str, str]:
        """The proxies of the further egresses, by name."""
        return {name: self._proxies[name].url for name in self._egresses}

    @property
    def socks_url(self) -> str:
        """The SOCKS5 proxy of the same site; for use with the login of `socks`, or with none."""
        return self._socks[""].url.replace("http", "socks5h")

    @property
    def socks_urls(self) -> dict[str, str]:
        """The SOCKS5 proxies of the further egresses, by name."""
        return {name: self._socks[name].url.replace("http", "socks5h") for name in self._egresses}

    @property
    def control_url(self) -> str:
        return self._control.url

    async def __aenter__(self) -> Self:
        authority, self.ca_file = await asyncio.to_thread(load_authority, self._state_dir)
        site = Site(self.switches, self.counters)
        main = Proxy(site, server_context(authority), self.switches, self.counters)
        await self._open(main, self._ports[0])
        for name in self._egresses:
            await self._open(replace(main, egress=name), 0)
        await self._control.start(self._ports[1])
        return self

    async def _open(self, proxy: Proxy, port: int) -> None:
        self._proxies[proxy.egress] = Listener(proxy.handle)
        await self._proxies[proxy.egress].start(port)
        self._socks[proxy.egress] = Listener(SocksProxy(proxy).handle)
        await self._socks[proxy.egress].start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._control.close()
        for listener in (*self._proxies.values(), *self._socks.values()):
            await listener.close()

    def reset(self) -> None:
        """Clear all switches and counters."""
        self.switches.reset()
        self.counters.reset()
