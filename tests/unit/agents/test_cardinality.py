"""The series are known beforehand: 50,000 different requests add none, whatever they hold."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from agents.access.gate import installed_plugins
from agents.access.performance import PerformanceMonitor
from agents.commands.command_parsing import reject
from agents.ledger.duplicates import DropReason, DuplicateReports
from agents.ledger.events import ResultHeader, measure
from agents.plugins import Trouble
from agents.plugins.request import PluginRequest
from agents.recovery.agent import _count_attempt
from agents.recovery.decisions import Retry
from agents.validation.agent import Validation
from agents.validation.url_resolution import TargetFinder
from schemas.attempts import Operation
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Action
from schemas.results import OutcomeStatus
from streams.cluster.shared_state import SharedState
from streams.observability.logs import TRACE
from streams.observability.metrics import REGISTRY, StageMetrics
from streams.runtime.processor import dead_letter
from streams.settings import PerformanceSettings
from streams.stage import load_stages
from tests.unit.agents.builders import (
    WRITTEN_AT,
    FakeLinks,
    all_of,
    make_attempt,
    make_context,
    make_failure,
    make_gate,
    make_record,
    make_settings,
    request,
    validated,
)
from tests.unit.agents.download.downloads import PLATFORMS

REQUESTS = 50_000
WHOLE = 200
"""Requests that go through whole handlers; those take a hundred times as long."""

FIRST = 2_520
"""So many have every combination of the labels' values, which are counted through in turn."""

ACTIONS = (*get_args(Action), None)
STATUSES = get_args(OutcomeStatus)
CACHES = ("", "hit", "miss", "stale")
CODES = tuple(ErrorCode)
OPERATIONS = get_args(Operation)


def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {
        (each.name, frozenset(each.labels.items()))
        for family in REGISTRY.collect()
        for each in family.samples
    }


def hostile(number: int) -> str:
    """A text that no other request has, with all that a format or a log could stumble over."""
    return f'x{number}"}}\n{{a="b"}} \\ https://u:p@h{number}.test/?token={number} \u2028😀'


class Counting:
    """What counts requests, called as the stages call it."""

    def __init__(self) -> None:
        self.stage = StageMetrics("hostile")
        self.reports = DuplicateReports()
        self.performance = PerformanceMonitor(PerformanceSettings())
        self.failures = [
            make_failure(code, validated(attempts=(make_attempt(code),) * (number % 9)))
            for number, code in enumerate(CODES * 9)
        ]

    def count(self, number: int) -> None:
        text = hostile(number)
        TRACE.set(text[:32])
        self.stage.record_finished(0.0, 1)
        measure(self._head(number, text), ACTIONS[number % len(ACTIONS)])
        failure = self.failures[number % len(self.failures)]
        _count_attempt(Retry(due=WRITTEN_AT), failure, failure.job)
        self.reports.count_dropped(self._news(text), get_args(DropReason)[number % 4])
        self._attempt(number, text)

    def _head(self, number: int, text: str) -> ResultHeader:
        status = STATUSES[number % len(STATUSES)]
        outcome: dict[str, Any] = {
            "request_id": text,
            "url": text,
            "status": status,
            "trace_id": text,
            "received_at": WRITTEN_AT,
            "finished_at": WRITTEN_AT + timedelta(seconds=number % 4_000),
            "attributes": {text: text},
            "cache": CACHES[number % len(CACHES)],
            "video": {"title": text, "platform": text},
        }
        if status != "completed":
            error = {"error_type": CODES[number % len(CODES)], "user_message": text}
            outcome["error"] = error
        return decode(encode(outcome), ResultHeader)

    def _news(self, text: str) -> Any:
        return SimpleNamespace(entry=SimpleNamespace(request_id=text), cause=text)

    def _attempt(self, number: int, text: str) -> None:
        asked = PluginRequest(
            platform="tiktok",
            operation=OPERATIONS[number % len(OPERATIONS)],
            egress="direct",
            request_id=text,
            subject=text,
            attempt=number,
            trace_id=text,
        )
        self.performance.on_request_start(asked)
        error = ClipmillError(CODES[number % len(CODES)], text) if number % 3 else ValueError(text)
        self.performance.on_request_error(asked, error, number % 60)


async def whole(number: int, validation: Validation) -> None:
    """Take a request, a command and an unreadable record through what reads them."""
    text, record = hostile(number), make_record(hostile(number).encode(), key=b"%d" % number)
    for body in (
        {"id": f"r{number}", "url": f"https://www.tiktok.com/@{number}/video/{number}"},
        {"id": f"r{number}", "url": f"https://platform{number}.test/{number}"},
        {"id": text, "url": text, "action": text, "priority": text, text: text},
    ):
        await all_of(await validation.handle(request(body, offset=number)))
    await all_of(await validation.handle(record))
    command = request({"command": text, "id": text}, offset=number)
    reject(command, ClipmillError(ErrorCode.REQUEST_INVALID, text, field=text))
    for error in (MalformedMessageError(text, text), ValueError(text), KeyError(text)):
        dead_letter(record, error, "validation")


@pytest.mark.filterwarnings("ignore")
async def test_50_000_different_requests_add_no_series() -> None:
    counting = Counting()
    validation = Validation(
        TargetFinder(PLATFORMS, {"direct": FakeLinks()}, make_gate("resolve")), SharedState()
    )
    for number in range(10):
        await whole(number, validation)
    for number in range(FIRST):
        counting.count(number)
    before = series()
    for number in range(10, WHOLE):
        await whole(number, validation)
    for number in range(FIRST, REQUESTS):
        counting.count(number)
    assert series() - before == set()


ZERO: dict[str, list[tuple[str, dict[str, str]]]] = {
    "commands": [
        ("commands_total", {"command": "cancel", "outcome": "taken"}),
        ("commands_total", {"command": "unknown", "outcome": "refused"}),
    ],
    "recovery": [
        *(("dead_letters_total", {"reason": str(code)}) for code in ErrorCode),
        ("retry_attempts_total", {"step": "download", "attempt": "more"}),
    ],
    "validation": [("failures_total", {"step": "validation", "error_type": "network.dns"})],
    "ledger": [
        ("repeated_requests_total", {"content": "other"}),
        ("outcomes_dropped_total", {"reason": "late"}),
    ],
}


@pytest.mark.parametrize("name", ZERO)
async def test_what_a_stage_may_count_has_a_series_once_it_is_open(name: str) -> None:
    (stage,) = load_stages([name])
    context, _ = make_context(make_settings(), *stage.tables)
    async with stage.open(context):
        for metric, labels in ZERO[name]:
            assert REGISTRY.get_sample_value(f"clipmill_{metric}", labels) is not None


def test_troubles_of_installed_plug_ins_have_a_series_before_the_first_one() -> None:
    for plugin in installed_plugins().names:
        for trouble in get_args(Trouble):
            labels = {"plugin": plugin, "trouble": trouble}
            value = REGISTRY.get_sample_value("clipmill_plugin_troubles_total", labels)
            assert value is not None
