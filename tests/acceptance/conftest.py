"""A house per module: stand-in, broker and a worker of all stages."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.desk import Desk
from tests.house import House


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house with one worker of all stages, shared by a module's tests."""
    async with House(tmp_path_factory.mktemp("house")) as house:
        await house.start_worker("all")
        yield house


@pytest.fixture(scope="module")
def desk(house: House) -> Desk:
    """A client of the house."""
    return Desk(house)
