"""One real broker for all tests of a session; a topic prefix isolates each test."""

import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from streams.broker.broker import EmbeddedBroker
from streams.settings import KafkaSettings, Settings

_numbers = itertools.count()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """HOST:PORT of the broker."""
    async with EmbeddedBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def _without_environment_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("CLIPMILL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kafka(bootstrap: str, _without_environment_settings: None) -> KafkaSettings:
    """Settings of the cluster, with a topic prefix unique to the test."""
    return KafkaSettings(
        bootstrap=bootstrap,
        topic_prefix=f"t{next(_numbers)}.",
        partitions=2,
        session_timeout_seconds=6,
        commit_interval_seconds=0.2,
    )


@pytest.fixture
def settings(kafka: KafkaSettings, tmp_path: Path) -> Settings:
    return Settings(kafka=kafka, data_dir=tmp_path)
