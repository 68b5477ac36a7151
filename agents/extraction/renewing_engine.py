"""An engine for the requests of one account: what pages set anew of its cookies reaches it."""

from agents.accounts.interface import Account
from agents.engine.interface import EngineJob, EngineResult, Extractor


class RenewingEngine:
    """An `Extractor` that gives an account the cookies of its site after every request.

    A platform that is handed it need not know that sessions live.

    Args:
        engine: does the work.
        account: that the requests are made with.
    """

    def __init__(self, engine: Extractor, account: Account) -> None:
        self._engine = engine
        self._account = account

    async def extract(self, job: EngineJob) -> EngineResult:
        """Return what the extractor found.

        Raises:
            EngineError: the extractor failed.
        """
        result = await self._engine.extract(job)
        self._account.renew(result.cookies)
        return result
