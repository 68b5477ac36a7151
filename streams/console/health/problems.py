"""Everything that is wrong with the service. Pure."""

from streams.console.health.facts import Facts
from streams.console.health.findings import Finding
from streams.console.health.platform_problems import (
    cut_rates,
    open_breakers,
    unknown_media_hosts,
    unusable_accounts,
)
from streams.console.health.request_problems import (
    dead_letters,
    failures,
    low_success,
    old_requests,
    overdue_requests,
)
from streams.console.health.worker_problems import (
    broken_engines,
    different_versions,
    lagging_stages,
    paused_stages,
)


def find_problems(facts: Facts) -> tuple[Finding, ...]:
    """Return what is wrong, the critical first."""
    rules = (
        paused_stages,
        lagging_stages,
        old_requests,
        open_breakers,
        cut_rates,
        unusable_accounts,
        broken_engines,
        different_versions,
        unknown_media_hosts,
        overdue_requests,
        low_success,
        failures,
        dead_letters,
    )
    found = [finding for rule in rules for finding in rule(facts)]
    return tuple(sorted(found, key=lambda each: each.severity))
