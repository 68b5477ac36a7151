"""Problems of requests: old, overdue, failed, or dead letters. Pure."""

from collections.abc import Iterator

from schemas.redaction import printable
from streams.console.health.facts import Facts
from streams.console.health.findings import RUNBOOKS, Finding, change, link, quantity, span, verb
from streams.history.statistics import count_retryable

OLD_SECONDS = 900.0
"""Age of an undecided request that nothing delays, from which on it is a problem."""

OVERDUE_SECONDS = 120.0
"""Delay of a parked request; the stage of delays is at most seconds late."""

SUCCESS_RATIO_LOW = 0.9

RESULTS_MIN = 20
"""Results from which on the ratio counts."""

CODES_MAX = 5
"""Error codes that are findings of their own; the pages behind the links have the others."""

EXPECTED_FAMILIES = ("content", "request")
"""Families of error codes that say something about the post or the request, not the service."""


def old_requests(facts: Facts) -> Iterator[Finding]:
    waiting = facts.history.waiting
    if waiting.oldest is None or waiting.oldest_state is None:
        return
    age = (facts.now - waiting.oldest).total_seconds()
    if age >= OLD_SECONDS:
        yield Finding(
            severity="warning",
            message=f"A request has been {waiting.oldest_state} for {span(age)}, though nothing "
            "delays it.",
            remedy="Start more workers of the stage behind it, or cancel what is not needed.",
            actions=(link("Show them", "./", state=waiting.oldest_state),),
            runbook=f"{RUNBOOKS}/ClipmillLagOld.md",
        )


def overdue_requests(facts: Facts) -> Iterator[Finding]:
    due = facts.history.waiting.next_due
    late = 0.0 if due is None else (facts.now - due).total_seconds()
    if late >= OVERDUE_SECONDS:
        yield Finding(
            severity="warning",
            message=f"A parked request is overdue by {span(late)}.",
            remedy="Look whether the stage delay runs.",
            actions=(link("Show the parked requests", "./", state="parked"),),
            runbook=f"{RUNBOOKS}/ClipmillDelayStuck.md",
        )


def low_success(facts: Facts) -> Iterator[Finding]:
    results = facts.history.results[-1]
    ratio = results.success_ratio
    if ratio is None or ratio >= SUCCESS_RATIO_LOW or sum(results.states.values()) < RESULTS_MIN:
        return
    yield Finding(
        severity="warning",
        message=f"Of the requests of the last {span(results.seconds)} only {ratio:.0%} were "
        "completed.",
        remedy="The failures by error code show why.",
        actions=(link("Show the failures", "failures"),),
        runbook=f"{RUNBOOKS}/ClipmillSuccessRatioLow.md",
    )


def failures(facts: Facts) -> Iterator[Finding]:
    recent = [each for each in facts.history.failures if each.hours[-1] and _is_fault(each.error)]
    for each in sorted(recent, key=lambda each: -each.hours[-1])[:CODES_MAX]:
        query = {"error": each.error or ""} | ({"platform": each.platform} if each.platform else {})
        number = count_retryable(each, facts.history.failures)
        retry = change(f"Retry all {number:,}…", "new-job", command="retry", **query)
        place = f" on {each.platform}" if each.platform else ""
        yield Finding(
            severity="warning",
            message=f"{quantity(each.hours[-1], 'request')} failed with "
            f"{printable(each.error or '')}{place} in the last hour, "
            f"{each.hours[-2]} in the hour before.",
            remedy=f"Remove the cause, then {'retry them' if number else 'submit them again'}.",
            actions=(*([retry] if number else []), link("Show them", "./", **query)),
            error=each.error,
        )


def _is_fault(error: str | None) -> bool:
    return error is not None and error.partition(".")[0] not in EXPECTED_FAMILIES


def dead_letters(facts: Facts) -> Iterator[Finding]:
    counts = facts.dead_letters
    if counts.problem is not None:
        yield Finding(
            severity="warning",
            message=f"The dead letters are unknown: {counts.problem}",
            remedy="Print the ACLs that they need.",
            command="clipmill topics acls operator",
        )
    for code, number in list(counts.waiting.items())[:CODES_MAX]:
        query = {"state": "waiting"} | ({"code": code} if code else {})
        yield Finding(
            severity="warning",
            message=f"{quantity(number, 'dead letter')} {verb(number)}: "
            f"{printable(code) or 'no code'}.",
            remedy="Remove the cause, then replay.",
            actions=(
                change(f"Replay {number}…", "replay", **query),
                link("Show them", "deadletters", **query),
            ),
            error=code or None,
            runbook=f"{RUNBOOKS}/ClipmillDeadLettersArriving.md",
        )
    if counts.parked:
        yield Finding(
            severity="warning",
            message=f"{quantity(counts.parked, 'dead letter')} failed again after a replay.",
            remedy="Resolve what needs no further action.",
            actions=(link("Show them", "deadletters", state="parked"),),
            runbook=f"{RUNBOOKS}/ClipmillDeadLettersArriving.md",
        )
