from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.standin import Standin
from tests.unit.standin.clients import Client, client_of


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standin")


@pytest.fixture
async def standin(state_dir: Path) -> AsyncIterator[Standin]:
    async with Standin(state_dir) as running:
        yield running


@pytest.fixture
def trusted(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> Standin:
    """Return the stand-in, its CA trusted by every handler of yt-dlp."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(standin.ca_file))
    return standin


@pytest.fixture
async def client(standin: Standin) -> AsyncIterator[Client]:
    async with client_of(standin.proxy_url, standin.ca_file) as made:
        yield made
