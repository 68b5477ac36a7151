"""Problems of the extraction engines of the workers. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from streams.console.health.facts import Facts
from streams.console.health.findings import RUNBOOKS, Finding, link
from streams.printable import printable

_PAGE = link("Show the engines", "pipeline")


def broken_engines(facts: Facts) -> Iterator[Finding]:
    for each in facts.engines:
        worker = printable(each.worker)
        if not each.processes_alive:
            yield Finding(
                severity="critical",
                message=f"No engine process of the worker {worker} is alive, "
                f"of {each.processes}: it extracts nothing.",
                remedy="They are started again by themselves; the worker's log has the reason.",
                actions=(_PAGE,),
                runbook=f"{RUNBOOKS}/ClipmillEngineCrashing.md",
            )
        elif not each.impersonation:
            yield Finding(
                severity="warning",
                message=f"The engine of the worker {worker} impersonates no browser; platforms "
                "may reject its requests.",
                remedy="Install the versions of yt-dlp and curl_cffi that clipmill requires.",
                command="clipmill engine check",
                actions=(_PAGE,),
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
            actions=(_PAGE,),
        )
