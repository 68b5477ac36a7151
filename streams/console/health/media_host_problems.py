"""Problems of media hosts that no platform lists. Pure."""

from collections.abc import Iterator

from schemas.errors import ErrorCode
from streams.console.health.facts import Facts
from streams.console.health.findings import RUNBOOKS, Finding, link
from streams.media_host_waits import setting_of, videos_wait
from streams.printable import printable

HOSTS_MAX = 5
"""Hosts that are findings of their own, those first that most videos wait for."""


def unknown_media_hosts(facts: Facts) -> Iterator[Finding]:
    for each in facts.media_hosts[:HOSTS_MAX]:
        platform = printable(each.platform)
        yield Finding(
            severity="warning",
            message=f"{videos_wait(each.videos)} for media at {each.host}, which is "
            f"not a host of {platform}.",
            remedy=f'If it is one, add ".{each.host}" to the setting {setting_of(platform)} of '
            "every worker and restart them.",
            actions=(link("Show the retries", "./", state="retrying", platform=each.platform),),
            error=ErrorCode.PLATFORM_CHANGED,
            runbook=f"{RUNBOOKS}/ClipmillPagesChanged.md",
        )
