"""Reads links to one site, and reports the links that its platform does not accept."""

import msgspec

from agents.platforms.urls import Link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode


class SiteLinks(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of a site, and the texts of the errors about its links.

    Attributes:
        site: display name.
        hosts: page hosts, lower case.
        supported: which links the platform accepts, for the error texts.
    """

    site: str
    hosts: tuple[str, ...]
    supported: str

    def read(self, url: object) -> Link:
        """Return the parsed link.

        Raises:
            ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`, and
                ``content.unsupported`` for another host.
        """
        link = parse_link(url, known_hosts=self.hosts)
        if link.host not in self.hosts:
            raise self.unsupported(link, f"{link.host} is not a host of {self.site}")
        return link

    def unsupported(self, link: Link, reason: str) -> ClipmillError:
        """Return the ``content.unsupported`` error of a link."""
        message = f"{shorten(link.url)} is not supported: {reason}; {self.supported}."
        return ClipmillError(
            ErrorCode.CONTENT_UNSUPPORTED,
            message,
            field="url",
            reason=reason,
            supported=self.supported,
        )
