"""Problems of the stages: paused, without a worker, standing still. Pure."""

from collections.abc import Iterator

from streams.console.health.facts import Facts
from streams.console.health.findings import RUNBOOKS, Finding, at, change, quantity, span, verb
from streams.printable import printable

STILL_SECONDS = 300.0
"""Time without a finished record, as in the alert ClipmillStageStalled."""


def paused_stages(facts: Facts) -> Iterator[Finding]:
    for name, pause in facts.pauses.items():
        yield Finding(
            severity="critical",
            message=f"The stage {name} has been paused by {printable(pause.by)} since "
            f"{at(pause.at)}: {printable(pause.reason)}",
            remedy="Remove the cause, then resume it.",
            actions=(change(f"Resume {name}…", "resume-stage", name=name),),
            runbook=f"{RUNBOOKS}/ClipmillIntakePaused.md",
        )


def lagging_stages(facts: Facts) -> Iterator[Finding]:
    if facts.lag.problem is not None:
        yield Finding(
            severity="warning",
            message=f"The lag of the stages is unknown: {facts.lag.problem}",
            remedy="Print the ACLs that this needs.",
            command="clipmill topics acls console",
        )
    for name, stage in facts.lag.stages.items():
        records = quantity(stage.lag, "record")
        if not stage.members:
            yield Finding(
                severity="critical",
                message=f"The stage {name} has no worker; {records} {verb(stage.lag)} for it.",
                remedy="Start one.",
                command=f"clipmill worker {name}",
                runbook=f"{RUNBOOKS}/ClipmillStageWithoutWorker.md",
            )
        elif _stands_still(facts, name):
            yield Finding(
                severity="critical",
                message=f"The stage {name} has finished nothing for {span(stage.still_seconds)}; "
                f"{records} {verb(stage.lag)} for it.",
                remedy="Read the log of its workers; a restart is safe.",
                runbook=f"{RUNBOOKS}/ClipmillStageStalled.md",
            )


def _stands_still(facts: Facts, name: str) -> bool:
    stage = facts.lag.stages[name]
    on_purpose = name in facts.delaying or name in facts.pauses
    return stage.lag > 0 and stage.still_seconds >= STILL_SECONDS and not on_purpose
