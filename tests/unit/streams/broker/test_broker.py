from pathlib import Path

import pytest

from streams.broker import jars
from streams.broker.broker import BrokerError, EmbeddedBroker
from streams.broker.pinning import JarError


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_invalid_port_is_rejected(tmp_path: Path, port: int) -> None:
    with pytest.raises(ValueError, match=f"{port} is not a TCP port"):
        EmbeddedBroker(tmp_path, port=port)


def test_bootstrap_before_start_raises(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="was not started"):
        _ = EmbeddedBroker(tmp_path).bootstrap


def test_pid_before_start_raises(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="is not started"):
        _ = EmbeddedBroker(tmp_path).pid


async def test_wait_before_start_raises(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="is not started"):
        await EmbeddedBroker(tmp_path).wait()


async def test_stop_before_start_is_a_no_op(tmp_path: Path) -> None:
    await EmbeddedBroker(tmp_path).stop()


async def test_failed_start_releases_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> tuple[Path, ...]:
        raise JarError("no jars")

    monkeypatch.setattr(jars, "ensure_jars", fail)
    for _ in range(2):
        with pytest.raises(JarError, match="no jars"):
            await EmbeddedBroker(tmp_path / "new" / "data").start()


async def test_start_with_a_too_small_heap_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "ensure_jars", lambda *_, **__: ())
    with pytest.raises(ValueError, match="at least 96 MB"):
        await EmbeddedBroker(tmp_path, heap_megabytes=10).start()
