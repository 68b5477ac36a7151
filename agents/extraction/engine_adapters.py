"""Adapters of the engine for one job: accounts that are renewed, and pages with subtitles."""

from msgspec.structs import replace

from agents.accounts.interface import Account
from agents.engine.interface import EngineJob, EngineResult, Extractor


class SubtitleEngine:
    """An `Extractor` whose results have the subtitles of the page.

    Platforms use it like any other extractor.
    """

    def __init__(self, engine: Extractor) -> None:
        self._engine = engine

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run the extractor; raises `EngineError`."""
        return await self._engine.extract(replace(job, subtitles=True))


class RenewingEngine:
    """An `Extractor` that renews an account's session with the cookies of every result.

    Platforms use it like any other extractor.

    Args:
        engine: runs the extraction.
        account: the account whose session the requests use.
    """

    def __init__(self, engine: Extractor, account: Account) -> None:
        self._engine = engine
        self._account = account

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run the extractor and renew the account's session.

        Raises:
            EngineError: the extractor failed.
        """
        result = await self._engine.extract(job)
        self._account.renew(result.cookies)
        return result
