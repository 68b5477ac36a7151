"""Has the engine check the extractors that platforms name, before the first request needs them.

Only engine processes know yt-dlp, so the question is a job like any other.
"""

import msgspec

from agents.engine.interface import YT_DLP, EngineJob, Extractor
from agents.network.egress import DIRECT
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode

EXTRACTOR = "agents.engine.extractors:ExtractorNamesIE"
DEADLINE_SECONDS = 30.0


class _Answer(msgspec.Struct):
    problems: dict[str, str]


async def check_extractors(platforms: Platforms, engine: Extractor, egress: str = DIRECT) -> None:
    """Do nothing when yt-dlp has every extractor that a platform names.

    Args:
        platforms: the installed ones.
        engine: is asked; nothing is dialled.
        egress: any that the engine knows.

    Raises:
        ClipmillError: ``system.config``; which name is wrong, of which platform, and which names
            are similar.
        EngineError: the engine did not answer.
    """
    named = _names_by_platform(platforms)
    if not named:
        return
    problems = await _ask({name for names in named.values() for name in names}, engine, egress)
    wrong = [
        f"platforms.{platform}.extractors: {problems[name]}"
        for platform, names in named.items()
        for name in names
        if name in problems
    ]
    if wrong:
        raise ClipmillError(ErrorCode.SYSTEM_CONFIG, "; ".join(wrong))


async def _ask(names: set[str], engine: Extractor, egress: str) -> dict[str, str]:
    job = EngineJob(
        url=f"names:{','.join(sorted(names))}",
        extractor=EXTRACTOR,
        deadline_seconds=DEADLINE_SECONDS,
        egress=egress,
    )
    result = await engine.extract(job)
    return msgspec.json.decode(result.raw, type=_Answer).problems


def _names_by_platform(platforms: Platforms) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name in platforms.names:
        for extractor in platforms.by_name(name).get_capabilities().extractors:
            kind, _, names = extractor.partition(":")
            if kind == YT_DLP:
                named.setdefault(name, []).extend(names.split(","))
    return named
