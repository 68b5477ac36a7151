"""Problems of the ways to the platforms: open breakers, spent retry budgets, cut rates. Pure."""

from collections.abc import Iterator

from schemas.signals import BreakerState
from streams.console.health.facts import Facts, is_cut
from streams.console.health.findings import RUNBOOKS, Finding, at, change, link
from streams.printable import printable


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
