"""Problems of stages, their workers and extraction engines. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from schemas.redaction import printable
from streams.console.health.facts import Facts
from streams.console.health.findings import (
    RUNBOOKS,
    Finding,
    at,
    change,
    link,
    quantity,
    span,
    verb,
)

STALLED_SECONDS = 300.0
"""Time without a finished record, as in the alert ClipmillStageStalled."""

_ENGINES = link("Show the engines", "pipeline")


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
        elif _is_stalled(facts, name):
            yield Finding(
                severity="critical",
                message=f"The stage {name} has finished nothing for {span(stage.stalled_seconds)}; "
                f"{records} {verb(stage.lag)} for it.",
                remedy="Read the log of its workers; a restart is safe.",
                runbook=f"{RUNBOOKS}/ClipmillStageStalled.md",
            )


def _is_stalled(facts: Facts, name: str) -> bool:
    stage = facts.lag.stages[name]
    on_purpose = name in facts.delaying or name in facts.pauses
    return stage.lag > 0 and stage.stalled_seconds >= STALLED_SECONDS and not on_purpose


def broken_engines(facts: Facts) -> Iterator[Finding]:
    for each in facts.engines:
        worker = printable(each.worker)
        if not each.processes_alive:
            yield Finding(
                severity="critical",
                message=f"No engine process of the worker {worker} is alive, "
                f"of {each.processes}: it extracts nothing.",
                remedy="They are started again by themselves; the worker's log has the reason.",
                actions=(_ENGINES,),
                runbook=f"{RUNBOOKS}/ClipmillEngineCrashing.md",
            )
        elif not each.impersonation:
            yield Finding(
                severity="warning",
                message=f"The engine of the worker {worker} impersonates no browser; platforms "
                "may reject its requests.",
                remedy="Install the versions of yt-dlp and curl_cffi that clipmill requires.",
                command="clipmill engine check",
                actions=(_ENGINES,),
            )


def different_versions(facts: Facts) -> Iterator[Finding]:
    workers = defaultdict(list)
    for each in facts.engines:
        if each.versions is not None:
            workers[each.versions.yt_dlp].append(printable(each.worker))
    if len(workers) > 1:
        named = "; ".join(
            f"{printable(version)} on {', '.join(names[:3])}{' and others' if names[3:] else ''}"
            for version, names in sorted(workers.items())
        )
        yield Finding(
            severity="warning",
            message=f"The workers have different versions of yt-dlp: {named}.",
            remedy="Update the older ones; what a post gives depends on its worker until then.",
            actions=(_ENGINES,),
        )
