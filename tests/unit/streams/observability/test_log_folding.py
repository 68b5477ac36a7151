import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from streams.observability.log_folding import (
    EPISODES_MAX,
    FOLDED,
    QUIET_SECONDS,
    REPORT_SECONDS,
    TEXT_CHARACTERS,
    LogFolding,
    report_repeats,
)

REFUSED = ConnectionRefusedError(111, "Connection refused")
UNREACHABLE = OSError(113, "No route to host")


class FakeClock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folding(clock: FakeClock) -> LogFolding:
    return LogFolding(clock)


def record(
    message: str,
    *args: Any,
    name: str = "aiokafka",
    level: int = logging.ERROR,
    error: BaseException | None = None,
) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, level, "x.py", 1, message, args, info)


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)  # noqa: TRY301
    except ValueError as error:
        return error


def test_first_record_passes_and_repeats_are_filtered(folding: LogFolding) -> None:
    written = [folding.filter(record("no node %s: %s", node, REFUSED)) for node in range(1_000)]
    assert written == [True] + [False] * 999


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record("no node: %s", REFUSED), record("no node: %s", UNREACHABLE)),
        (record("failed: %s", KafkaConnectionError()), record("failed: %s", NodeNotReadyError())),
        (record("failed: %s", KafkaConnectionError), record("failed: %s", NodeNotReadyError)),
        (record("one %s", 1), record("other %s", 1)),
        (record("x"), record("x", name="aiokafka.conn")),
        (record("x"), record("x", level=logging.WARNING)),
        (record("%s: %r", "one", 1), record("%s: %r", "other", 1)),
        (record("bug", error=raised("a")), record("bug")),
        (record("bug", error=raised("a")), record("bug", error=KeyError("a"))),
    ],
)
def test_records_of_different_kinds_are_not_folded_together(
    folding: LogFolding, one: logging.LogRecord, other: logging.LogRecord
) -> None:
    assert [folding.filter(each) for each in (one, other, one, other)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record("no topic %s", "a"), record("no topic %s", "b")),
        (record("%s %d", "runs late", 17), record("%s %d", "runs late", 18)),
        (record("100%% of %(n)s", {"n": 1}), record("100%% of %(n)s", {"n": 2})),
        (record("bug", error=raised("a")), record("bug", error=raised("b"))),
    ],
)
def test_records_that_differ_in_arguments_only_are_folded(
    folding: LogFolding, one: logging.LogRecord, other: logging.LogRecord
) -> None:
    assert [folding.filter(one), folding.filter(other)] == [True, False]


@pytest.mark.parametrize(
    "name",
    ["streams.runtime.worker", "streams.cluster.producer", "agents.download.agent", "asyncio"],
)
def test_records_of_other_loggers_are_never_folded(folding: LogFolding, name: str) -> None:
    assert all(folding.filter(record("again", name=name)) for _ in range(5))


def test_repeat_counts_are_reported_every_minute_most_frequent_first(
    folding: LogFolding, clock: FakeClock
) -> None:
    reports: list[tuple[float, list[str]]] = []
    for second in range(150):
        clock.now = 50.0 + second
        for _ in range(2 + 8 * (second % 2)):
            folding.filter(record("no node %s", 7))
        folding.filter(record("no leader", name="aiokafka.consumer"))
        if lines := folding.report():
            reports.append((second, lines))
    minute = "repeated in the last 60 s: "
    assert reports == [
        (60, [f"{minute}361 times aiokafka: no node 7; 60 times aiokafka.consumer: no leader"]),
        (121, [f"{minute}370 times aiokafka: no node 7; 61 times aiokafka.consumer: no leader"]),
    ]


def test_ended_episode_is_reported_with_its_total(folding: LogFolding, clock: FakeClock) -> None:
    for _ in range(11):
        folding.filter(record("no node"))
        clock.now += 1
    clock.now += QUIET_SECONDS - 2
    assert folding.report() == []
    clock.now += 1
    assert folding.report() == ["no more repeats of aiokafka: no node (10 in 10 s)"]
    assert folding.report() == []
    assert folding.filter(record("no node"))


def test_record_without_repeats_is_not_reported(folding: LogFolding, clock: FakeClock) -> None:
    folding.filter(record("no node"))
    clock.now += REPORT_SECONDS + QUIET_SECONDS
    assert folding.report() == []


def test_episodes_are_bounded_and_the_evicted_one_is_reported(folding: LogFolding) -> None:
    for _ in range(3):
        folding.filter(record("the oldest"))
    for number in range(EPISODES_MAX):
        assert folding.filter(record(f"kind {chr(1_000 + number)}"))
    assert folding.report() == ["no more repeats of aiokafka: the oldest (2 in 0 s)"]


def test_long_message_is_truncated_in_reports(folding: LogFolding) -> None:
    for _ in range(2):
        folding.filter(record("x" * 1_000 + "\nsecond"))
    (line,) = folding.report(final=True)
    assert len(line) < TEXT_CHARACTERS + 60
    assert "\n" not in line


def test_repeats_are_counted_across_threads(folding: LogFolding) -> None:
    passed: list[bool] = []

    def work() -> None:
        passed.extend(folding.filter(record("no node")) for _ in range(1_000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 1
    (line,) = folding.report(final=True)
    assert "(3999 in 0 s)" in line


class ListHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(record.getMessage())


@pytest.fixture
def lines(folding: LogFolding) -> Iterator[ListHandler]:
    handler = ListHandler()
    handler.addFilter(folding)
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


async def test_repeats_are_reported_periodically_and_on_cancellation(
    lines: ListHandler, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds
        for _ in range(2):
            logging.getLogger(FOLDED[0]).error("no node")
        if len(slept) > 15:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await report_repeats()
    assert lines.written == [
        "no node",
        "repeated in the last 60 s: 25 times aiokafka: no node",
        "no more repeats of aiokafka: no node (31 in 75 s)",
    ]
