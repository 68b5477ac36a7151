"""A platform by code: single clips of the made-up site clips.elsewhere.example."""

import re

from agents.platforms import (
    BasePlatform,
    Capabilities,
    FailureRow,
    ShortLink,
    Target,
    failure_table,
    message_contains,
    parse_link,
    shorten,
)
from schemas import ClipmillError, ErrorCode, VideoRef

HOST = "clips.elsewhere.example"
SITE = "Elsewhere"

_CLIP_PATH = re.compile(r"/c/(?P<id>[0-9]{1,20})/?", re.ASCII)


class Elsewhere(BasePlatform):
    """Everything but hosts, extractor, failure rows and links comes from the base class."""

    site = SITE
    capabilities = Capabilities(
        name="elsewhere",
        page_hosts=(HOST,),
        link_hosts=(),
        media_hosts=(".elsewhere.example",),
        extractors=("clipmill_examples.elsewhere_extractor:ElsewhereIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "withdrawn",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("was withdrawn"),
                "its author withdrew it",
            ),
        ),
    )

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the clip.

        Raises:
            ClipmillError: ``request.invalid``, or ``content.unsupported`` for another page.
        """
        link = parse_link(url, known_hosts=(HOST,))
        found = _CLIP_PATH.fullmatch(link.path)
        if link.host != HOST or found is None:
            reason = f"this is not the page of a clip of {SITE}"
            raise ClipmillError(
                ErrorCode.CONTENT_UNSUPPORTED,
                f"{shorten(link.url)} is not supported: {reason}.",
                field="url",
                reason=reason,
            )
        return VideoRef(platform="elsewhere", id=found["id"], url=f"https://{HOST}/c/{found['id']}")
