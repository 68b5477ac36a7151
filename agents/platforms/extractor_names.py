"""Validates the extractor names of the platforms before the first request uses them.

Only engine processes import yt-dlp, so the check is an engine job like any other.
"""

import msgspec

from agents.engine.interface import YT_DLP, EngineJob, Extractor
from agents.network.egress import DIRECT
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode

EXTRACTOR = "agents.engine.extractors:ExtractorNamesIE"
DEADLINE_SECONDS = 30.0


class _Result(msgspec.Struct):
    problems: dict[str, str]


async def check_extractors(platforms: Platforms, engine: Extractor, egress: str = DIRECT) -> None:
    """Verify that yt-dlp has every extractor that a platform names.

    Args:
        platforms: the installed platforms.
        engine: runs the check, without any network connection.
        egress: any egress that the engine knows.

    Raises:
        ClipmillError: ``system.config``; the unknown names with their platforms and similar names.
        EngineError: the engine did not answer.
    """
    named = _names_by_platform(platforms)
    if not named:
        return
    problems = await _find_problems(
        {name for names in named.values() for name in names}, engine, egress
    )
    wrong = [
        f"platforms.{platform}.extractors: {problems[name]}"
        for platform, names in named.items()
        for name in names
        if name in problems
    ]
    if wrong:
        raise ClipmillError(ErrorCode.SYSTEM_CONFIG, "; ".join(wrong))


async def _find_problems(names: set[str], engine: Extractor, egress: str) -> dict[str, str]:
    job = EngineJob(
        url=f"names:{','.join(sorted(names))}",
        extractor=EXTRACTOR,
        deadline_seconds=DEADLINE_SECONDS,
        egress=egress,
    )
    result = await engine.extract(job)
    return msgspec.json.decode(result.raw, type=_Result).problems


def _names_by_platform(platforms: Platforms) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name in platforms.names:
        for extractor in platforms.by_name(name).get_capabilities().extractors:
            kind, _, names = extractor.partition(":")
            if kind == YT_DLP:
                named.setdefault(name, []).extend(names.split(","))
    return named
