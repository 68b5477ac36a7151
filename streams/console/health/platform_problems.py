"""Problems between the workers and the platforms: breakers, rates, accounts, media hosts. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from schemas.errors import ErrorCode
from schemas.redaction import printable
from schemas.signals import AccountState, BreakerState
from streams.console.health.facts import Facts, is_cut
from streams.console.health.findings import RUNBOOKS, Finding, at, change, link
from streams.media_host_waits import setting_of, videos_wait

EXPIRES_SOON = timedelta(days=3)
"""Remaining time of a login at which the alert fires, too."""

HOSTS_MAX = 5
"""Hosts that are findings of their own, those first that most videos wait for."""


def open_breakers(facts: Facts) -> Iterator[Finding]:
    for each in facts.breakers:
        if each.state in ("open", "forced_open"):
            yield Finding(
                severity="warning",
                message=f"The breaker {each.name} {_why_open(each)}; its requests are parked.",
                remedy=_open_remedy(each),
                actions=(change(f"Reset {each.name}…", "reset-breaker", name=each.name),),
                error=each.reason,
                runbook=f"{RUNBOOKS}/ClipmillBreakerOpenLong.md",
            )
        if each.budget_until is not None and each.budget_until > facts.now:
            yield Finding(
                severity="warning",
                message=f"The retry budget of {each.name} is exhausted until "
                f"{at(each.budget_until)}: too many of its attempts are retries.",
                remedy="Retries wait by themselves; look why the first attempts fail.",
                actions=(link("Show the failures", "failures"),),
            )


def _why_open(breaker: BreakerState) -> str:
    since = f"since {at(breaker.since)}"
    if breaker.state == "forced_open":
        return f"is forced open {since} by {printable(breaker.by or 'an operator')}"
    return f"is open {since} because of {breaker.reason or 'failures'}"


def _open_remedy(breaker: BreakerState) -> str:
    if breaker.state == "forced_open":
        return "It stays open until it is reset."
    trial = "" if breaker.until is None else f", the next one at {at(breaker.until)}"
    return f"It makes trial calls by itself{trial}; a reset skips the wait."


def cut_rates(facts: Facts) -> Iterator[Finding]:
    for each in facts.rates:
        if not is_cut(each, facts.now):
            continue
        because = f" because of {each.reason}" if each.reason else ""
        if each.until is not None and each.until > facts.now:
            what = f"pauses until {at(each.until)}"
        else:
            what = f"is cut to {each.requests_per_second:.3g} requests a second"
        yield Finding(
            severity="warning",
            message=f"The rate of {each.name} {what}{because}.",
            remedy="It recovers by itself while attempts succeed; another egress has its own rate.",
            actions=(link("Show the rates", "breakers"),),
            error=each.reason,
        )


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
