"""Problems of the accounts: logins that cannot be used, expire soon or are not saved. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from schemas.signals import AccountState
from streams.console.health.facts import Facts
from streams.console.health.findings import RUNBOOKS, Finding, at
from streams.printable import printable

EXPIRES_SOON = timedelta(days=3)
"""Remaining time of a login at which the alert fires, too."""


def unusable_accounts(facts: Facts) -> Iterator[Finding]:
    for each in facts.accounts:
        name = printable(each.name)
        if not each.healthy:
            yield Finding(
                severity="warning",
                message=f"The account {name} cannot be used{_why(each, facts.now)}.",
                remedy="Export its cookies again; posts that need no login are not affected.",
                runbook=f"{RUNBOOKS}/ClipmillAccountUnusable.md",
            )
        elif each.expires_at is not None and each.expires_at - facts.now < EXPIRES_SOON:
            yield Finding(
                severity="warning",
                message=f"The login of the account {name} ends at {at(each.expires_at)}.",
                remedy="Export its cookies again before.",
                runbook=f"{RUNBOOKS}/ClipmillLoginExpires.md",
            )
        if each.unsaved:
            yield Finding(
                severity="warning",
                message=f"The renewed cookies of the account {name} cannot be saved.",
                remedy="Make its cookie file writable for the worker; a restart loses them.",
                runbook=f"{RUNBOOKS}/ClipmillCookiesUnsaved.md",
            )


def _why(account: AccountState, now: datetime) -> str:
    if account.expires_at is not None and account.expires_at <= now:
        return f": its login ended at {at(account.expires_at)}"
    return ": the platform refuses it, or limits its rate"
