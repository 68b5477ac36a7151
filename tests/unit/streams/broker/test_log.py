import os
from pathlib import Path

import pytest

from streams.broker.log import BrokerLog


@pytest.fixture
def log(tmp_path: Path) -> BrokerLog:
    return BrokerLog(tmp_path / "kafka.log", limit_bytes=100)


def rotated_file(log: BrokerLog) -> Path:
    return log.path.with_name("kafka.log.1")


def test_log_without_output_is_empty(log: BrokerLog) -> None:
    log.rotate()
    log.limit_size()
    assert log.tail() == ""


def test_rotation_keeps_one_rotated_file(log: BrokerLog) -> None:
    for text in ("first", "second"):
        log.path.write_text(text)
        log.rotate()
    assert not log.path.exists()
    assert rotated_file(log).read_text() == "second"


def test_output_continues_at_the_start_after_truncation(log: BrokerLog) -> None:
    with log.open_for_append() as output:
        os.write(output, b"x" * 101)
        log.limit_size()
        os.write(output, b"after")
    assert log.path.read_bytes() == b"after"
    assert rotated_file(log).read_bytes() == b"x" * 101


def test_file_within_the_limit_is_not_truncated(log: BrokerLog) -> None:
    log.path.write_bytes(b"x" * 100)
    log.limit_size()
    assert log.path.stat().st_size == 100
    assert not rotated_file(log).exists()


def test_reopened_log_is_appended_to(log: BrokerLog) -> None:
    for text in (b"one\n", b"two\n"):
        with log.open_for_append() as output:
            os.write(output, text)
    assert log.tail() == "one\ntwo"


def test_descriptor_is_closed_on_exit(log: BrokerLog) -> None:
    with log.open_for_append() as output:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(output, b"x")


@pytest.mark.parametrize(
    ("content", "lines", "last"),
    [
        pytest.param(b"a\nb\n", 2, "b", id="short"),
        pytest.param(b"\n".join(b"%d" % n for n in range(100)), 40, "99", id="many lines"),
        pytest.param(b"y" * 1_000_000, 1, "y" * 8192, id="one long line"),
        pytest.param(b"ok\n\xff\xfe", 2, "\ufffd\ufffd", id="not UTF-8"),
    ],
)
def test_the_tail_is_bounded(log: BrokerLog, content: bytes, lines: int, last: str) -> None:
    log.path.write_bytes(content)
    assert len(log.tail().splitlines()) == lines
    assert log.tail().splitlines()[-1] == last
