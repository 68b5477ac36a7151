"""Label cardinality: 50,000 different requests add no series, whatever they contain."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from agents.access.gate import installed_plugins
from agents.access.performance import PerformanceMonitor
from agents.commands.agent import reject
from agents.ledger.duplicates import DropReason, DuplicateReports
from agents.ledger.events import ResultHeader, measure
from agents.plugins import PluginRequest, Trouble
from agents.recovery.agent import _count_attempt
from agents.recovery.decisions import Backoff
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
    collect_effects,
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
FULL_REQUESTS = 200
"""Requests that run through the full handlers, which take a hundred times as long."""

WARM_UP_REQUESTS = 2_520
"""Enough for every combination of the label values, which are cycled through."""

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
    """Return a unique text with characters that can break a format or a log."""
    return f'x{number}"}}\n{{a="b"}} \\ https://u:p@h{number}.test/?token={number} \u2028😀'


class RequestCounters:
    """The components that count requests, called as the stages call them."""

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
        self.stage.records_finished((0.0,), 1)
        measure(self._result_header(number, text), ACTIONS[number % len(ACTIONS)])
        failure = self.failures[number % len(self.failures)]
        _count_attempt(Backoff(due=WRITTEN_AT), failure, failure.job)
        self.reports.count_dropped(self._ledger_event(text), get_args(DropReason)[number % 4])
        self._attempt(number, text)

    def _result_header(self, number: int, text: str) -> ResultHeader:
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

    def _ledger_event(self, text: str) -> Any:
        return SimpleNamespace(entry=SimpleNamespace(request_id=text), cause=text)

    def _attempt(self, number: int, text: str) -> None:
        plugin_request = PluginRequest(
            platform="tiktok",
            operation=OPERATIONS[number % len(OPERATIONS)],
            egress="direct",
            request_id=text,
            subject=text,
            attempt=number,
            trace_id=text,
        )
        self.performance.on_request_start(plugin_request)
        error = ClipmillError(CODES[number % len(CODES)], text) if number % 3 else ValueError(text)
        self.performance.on_request_error(plugin_request, error, number % 60)


async def handle_fully(number: int, validation: Validation) -> None:
    """Handle requests, a command and an undecodable record with the real handlers."""
    text, record = hostile(number), make_record(hostile(number).encode(), key=b"%d" % number)
    for body in (
        {"id": f"r{number}", "url": f"https://www.tiktok.com/@{number}/video/{number}"},
        {"id": f"r{number}", "url": f"https://platform{number}.test/{number}"},
        {"id": text, "url": text, "action": text, "priority": text, text: text},
    ):
        await collect_effects(await validation.handle(request(body, offset=number)))
    await collect_effects(await validation.handle(record))
    command = request({"command": text, "id": text}, offset=number)
    reject(command, ClipmillError(ErrorCode.REQUEST_INVALID, text, field=text))
    for error in (MalformedMessageError(text, text), ValueError(text), KeyError(text)):
        dead_letter(record, error, "validation")


@pytest.mark.filterwarnings("ignore")
async def test_50_000_different_requests_add_no_series() -> None:
    counters = RequestCounters()
    validation = Validation(
        TargetFinder(PLATFORMS, {"direct": FakeLinks()}, make_gate("resolve")), SharedState()
    )
    for number in range(10):
        await handle_fully(number, validation)
    for number in range(WARM_UP_REQUESTS):
        counters.count(number)
    before = series()
    for number in range(10, FULL_REQUESTS):
        await handle_fully(number, validation)
    for number in range(WARM_UP_REQUESTS, REQUESTS):
        counters.count(number)
    assert series() - before == set()


INITIAL_SERIES: dict[str, list[tuple[str, dict[str, str]]]] = {
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


@pytest.mark.parametrize("name", INITIAL_SERIES)
async def test_series_of_a_stage_exist_once_it_is_open(name: str) -> None:
    (stage,) = load_stages([name])
    context, _ = make_context(make_settings(), *stage.tables, indexes=stage.indexes)
    async with stage.open(context):
        for metric, labels in INITIAL_SERIES[name]:
            assert REGISTRY.get_sample_value(f"clipmill_{metric}", labels) is not None


def test_trouble_series_of_installed_plugins_exist_from_the_start() -> None:
    for plugin in installed_plugins().names:
        for trouble in get_args(Trouble):
            labels = {"plugin": plugin, "trouble": trouble}
            value = REGISTRY.get_sample_value("clipmill_plugin_troubles_total", labels)
            assert value is not None
