from pathlib import Path

import pytest

from streams.broker import jars
from streams.broker.broker import BrokerError, EmbeddedBroker
from streams.broker.jars import JarError


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(ValueError, match=f"{port} is not a TCP port"):
        EmbeddedBroker(tmp_path, port=port)


def test_before_the_start_there_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="was not started"):
        _ = EmbeddedBroker(tmp_path).bootstrap


def test_before_the_start_there_is_no_process(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="is not started"):
        _ = EmbeddedBroker(tmp_path).pid


async def test_before_the_start_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="is not started"):
        await EmbeddedBroker(tmp_path).wait()


async def test_stopping_what_never_started_is_harmless(tmp_path: Path) -> None:
    await EmbeddedBroker(tmp_path).stop()


async def test_a_failed_start_gives_the_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> tuple[Path, ...]:
        raise JarError("no jars")

    monkeypatch.setattr(jars, "ensure_jars", fail)
    for _ in range(2):
        with pytest.raises(JarError, match="no jars"):
            await EmbeddedBroker(tmp_path / "new" / "data").start()


async def test_a_heap_too_small_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "ensure_jars", lambda *_, **__: ())
    with pytest.raises(ValueError, match="at least 96 MB"):
        await EmbeddedBroker(tmp_path, heap_megabytes=10).start()
