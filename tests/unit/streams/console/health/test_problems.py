"""What the overview finds wrong in facts of every kind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from schemas.contract.examples import ENGINE_STATE
from schemas.errors import ErrorCode
from schemas.signals import AccountState, BreakerState, IntakeSignal, RateState
from schemas.video import EngineVersions
from streams.console.health.facts import DeadLetterCounts, Facts, HistoryFacts
from streams.console.health.findings import Finding
from streams.console.health.lag import LagReport, StageLag, TopicLag
from streams.console.health.problems import find_problems
from streams.history.statistics import TREND_HOURS, FailureGroup, Results, Waiting
from streams.media_host_waits import WaitingHost

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NAME = "tiktok:extract:direct"


def results(**states: int) -> Results:
    completed, total = states.get("completed", 0), sum(states.values())
    return Results(
        seconds=3_600.0,
        states=states,
        per_minute=1.0,
        success_ratio=completed / total if total else None,
        median_seconds=None,
        p99_seconds=None,
    )


WAITING = Waiting(parked=0, parked_since=None, next_due=None, oldest=None, oldest_state=None)
HISTORY = HistoryFacts(states={}, results=(results(),), waiting=WAITING, failures=())
FACTS = Facts(
    now=NOW,
    history=HISTORY,
    lag=LagReport(),
    stages=("delay", "download"),
    delaying=frozenset({"delay"}),
    breakers=(),
    rates=(),
    accounts=(),
    engines=(),
    pauses={},
    dead_letters=DeadLetterCounts(),
)


def facts(**fields: Any) -> Facts:
    """Return healthy facts with some changes, those of the history among them."""
    own = {name: fields.pop(name) for name in [*fields] if name in HistoryFacts.__struct_fields__}
    history = msgspec.structs.replace(HISTORY, **own)
    return msgspec.structs.replace(FACTS, history=history, **fields)


def waiting(**fields: Any) -> Facts:
    return facts(waiting=msgspec.structs.replace(WAITING, **fields))


def lag(name: str, records: int, *, members: int = 1, stalled_seconds: float = 0.0) -> LagReport:
    topics = (TopicLag(topic="t", partitions=1, lag=records),)
    stage = StageLag(members=members, topics=topics, finished=1, stalled_seconds=stalled_seconds)
    return LagReport(stages={name: stage}, measured_at=NOW)


def breaker(**fields: Any) -> Facts:
    since = NOW - timedelta(minutes=3)
    fields = {"platform": "tiktok", "operation": "extract", "egress": "direct", **fields}
    return facts(breakers=(BreakerState(since=since, **fields),))


def rate(**fields: Any) -> Facts:
    fields = {"platform": "tiktok", "operation": "extract", "egress": "direct", **fields}
    return facts(rates=(RateState(since=NOW, **fields),))


def failures(error: str, present: int, before: int = 0, platform: str | None = "tiktok") -> Facts:
    group = FailureGroup(
        error=error,
        platform=platform,
        count=present + before,
        retryable=present + before,
        first_at=NOW,
        last_at=NOW,
        share=1.0,
        hours=(*[0] * (TREND_HOURS - 2), before, present),
    )
    return facts(failures=(group,))


def media_hosts(*videos: int) -> Facts:
    hosts = (
        WaitingHost(platform="tiktok", host=f"cdn{index}.example", videos=count)
        for index, count in enumerate(videos)
    )
    return facts(media_hosts=tuple(hosts))


PAUSE = IntakeSignal(paused=True, reason="the disk is full", by="download", at=NOW)


def account(**fields: Any) -> Facts:
    state = {"platform": "tiktok", "account": "main", "healthy": True, "at": NOW, **fields}
    return facts(accounts=(AccountState(**state),))


def engines(*fields: dict[str, Any]) -> Facts:
    """Return facts with an engine for each of these changes."""
    states = (msgspec.structs.replace(ENGINE_STATE, worker=f"w{n}") for n in range(len(fields)))
    return facts(
        engines=tuple(
            msgspec.structs.replace(state, **changes)
            for state, changes in zip(states, fields, strict=True)
        )
    )


def yt_dlp(version: str) -> dict[str, Any]:
    return {"versions": EngineVersions(yt_dlp=version, curl_cffi="0.16.3")}


@pytest.mark.parametrize(
    "healthy",
    [
        FACTS,
        facts(lag=lag("download", 0)),
        facts(lag=lag("download", 5_000, stalled_seconds=299.0)),
        facts(lag=lag("delay", 5_000, stalled_seconds=9_000.0)),
        breaker(),
        breaker(state="half_open"),
        breaker(budget_until=NOW),
        rate(cuts=3),
        account(),
        account(expires_at=NOW + timedelta(days=4)),
        engines({}, {"processes_alive": 1}, {"versions": None}),
        rate(until=NOW, reason=ErrorCode.RATE_LIMIT_API),
        facts(results=(results(completed=17, failed=2),)),
        facts(results=(results(completed=95, failed=5),)),
        failures("content.private", 50),
        failures("request.invalid", 50, platform=None),
        failures("network.dns", 0, before=50),
        waiting(parked=3, next_due=NOW - timedelta(seconds=119)),
        waiting(oldest=NOW - timedelta(seconds=899), oldest_state="accepted"),
    ],
)
def test_nothing_is_wrong(healthy: Facts) -> None:
    assert find_problems(healthy) == ()


@pytest.mark.parametrize(
    ("wrong", "severity", "message", "page"),
    [
        (
            facts(pauses={"download": PAUSE}, lag=lag("download", 9, stalled_seconds=900.0)),
            "critical",
            (
                "The stage download has been paused by download since 2026-11-02 09:00:00 UTC: "
                "the disk is full"
            ),
            "resume-stage?name=download",
        ),
        (
            facts(lag=lag("download", 1, members=0)),
            "critical",
            "The stage download has no worker; 1 record waits for it.",
            None,
        ),
        (
            facts(lag=lag("download", 2_000, stalled_seconds=300.0)),
            "critical",
            "The stage download has finished nothing for 5 minutes; 2,000 records wait for it.",
            None,
        ),
        (
            account(healthy=False),
            "warning",
            "The account tiktok/main cannot be used: the platform refuses it, or limits its rate.",
            None,
        ),
        (
            account(healthy=False, expires_at=NOW),
            "warning",
            "The account tiktok/main cannot be used: its login ended at 2026-11-02 09:00:00 UTC.",
            None,
        ),
        (
            account(expires_at=NOW + timedelta(days=2)),
            "warning",
            "The login of the account tiktok/main ends at 2026-11-04 09:00:00 UTC.",
            None,
        ),
        (
            media_hosts(3),
            "warning",
            "3 videos wait for media at cdn0.example, which is not a host of tiktok.",
            "./?state=retrying&platform=tiktok",
        ),
        (
            account(unsaved=True),
            "warning",
            "The renewed cookies of the account tiktok/main cannot be saved.",
            None,
        ),
        (
            engines({"processes_alive": 0, "impersonation": False}),
            "critical",
            "No engine process of the worker w0 is alive, of 2: it extracts nothing.",
            "pipeline",
        ),
        (
            engines({"impersonation": False}),
            "warning",
            (
                "The engine of the worker w0 impersonates no browser; platforms may reject its "
                "requests."
            ),
            "pipeline",
        ),
        (
            engines(*map(yt_dlp, ("2", "1\N{RIGHT-TO-LEFT OVERRIDE}", "2", "2", "2"))),
            "warning",
            (
                "The workers have different versions of yt-dlp: 1\ufffd on w1; 2 on w0, w2, w3 and "
                "others."
            ),
            "pipeline",
        ),
        (
            facts(lag=LagReport(problem="no broker answers")),
            "warning",
            "The lag of the stages is unknown: no broker answers",
            None,
        ),
        (
            waiting(oldest=NOW - timedelta(hours=2), oldest_state="extracted"),
            "warning",
            "A request has been extracted for 2 hours, though nothing delays it.",
            "./?state=extracted",
        ),
        (
            breaker(state="open", reason=ErrorCode.RATE_LIMIT_API, until=NOW),
            "warning",
            (
                f"The breaker {NAME} is open since 2026-11-02 08:57:00 UTC because of "
                "rate_limit.api; its requests are parked."
            ),
            f"reset-breaker?name={NAME}",
        ),
        (
            breaker(state="forced_open", by="ann\N{RIGHT-TO-LEFT OVERRIDE}"),
            "warning",
            (
                f"The breaker {NAME} is forced open since 2026-11-02 08:57:00 UTC by ann\ufffd; "
                "its requests are parked."
            ),
            f"reset-breaker?name={NAME}",
        ),
        (
            breaker(budget_until=NOW + timedelta(seconds=5)),
            "warning",
            (
                f"The retry budget of {NAME} is exhausted until 2026-11-02 09:00:05 UTC: too many "
                "of its attempts are retries."
            ),
            "failures",
        ),
        (
            rate(requests_per_second=0.5, reason=ErrorCode.RATE_LIMIT_API),
            "warning",
            f"The rate of {NAME} is cut to 0.5 requests a second because of rate_limit.api.",
            "breakers",
        ),
        (
            rate(until=NOW + timedelta(seconds=9)),
            "warning",
            f"The rate of {NAME} pauses until 2026-11-02 09:00:09 UTC.",
            "breakers",
        ),
        (
            waiting(parked=1, next_due=NOW - timedelta(seconds=120)),
            "warning",
            "A parked request is overdue by 2 minutes.",
            "./?state=parked",
        ),
        (
            facts(results=(results(completed=12, failed=8),)),
            "warning",
            "Of the requests of the last 1 hour only 60% were completed.",
            "failures",
        ),
        (
            failures("network.dns", 2, before=1),
            "warning",
            "2 requests failed with network.dns on tiktok in the last hour, 1 in the hour before.",
            "new-job?command=retry&error=network.dns&platform=tiktok",
        ),
        (
            failures("system.storage", 1, platform=None),
            "warning",
            "1 request failed with system.storage in the last hour, 0 in the hour before.",
            "new-job?command=retry&error=system.storage",
        ),
        (
            facts(dead_letters=DeadLetterCounts(waiting={"internal.bug": 2})),
            "warning",
            "2 dead letters wait: internal.bug.",
            "replay?state=waiting&code=internal.bug",
        ),
        (
            facts(dead_letters=DeadLetterCounts(waiting={"": 1})),
            "warning",
            "1 dead letter waits: no code.",
            "replay?state=waiting",
        ),
        (
            facts(dead_letters=DeadLetterCounts(parked=1)),
            "warning",
            "1 dead letter failed again after a replay.",
            "deadletters?state=parked",
        ),
        (
            facts(dead_letters=DeadLetterCounts(problem="READ is missing")),
            "warning",
            "The dead letters are unknown: READ is missing",
            None,
        ),
    ],
)
def test_problem_is_found_with_its_remedy(
    wrong: Facts, severity: str, message: str, page: str | None
) -> None:
    (found,) = find_problems(wrong)
    assert (found.severity, found.message) == (severity, message)
    assert first_target(found) == page
    assert found.remedy


def first_target(finding: Finding) -> str | None:
    if not finding.actions:
        return None
    action = finding.actions[0]
    query = "&".join(f"{name}={value}" for name, value in action.query.items())
    return f"{action.page}?{query}" if query else action.page


def test_critical_problems_come_first() -> None:
    wrong = facts(
        dead_letters=DeadLetterCounts(parked=1),
        lag=lag("download", 1, members=0),
        results=(results(completed=12, failed=8),),
    )
    assert [each.severity for each in find_problems(wrong)] == ["critical", "warning", "warning"]


def test_remedy_of_an_unknown_media_host_is_its_setting() -> None:
    (found,) = find_problems(media_hosts(1))
    assert 'add ".cdn0.example" to the setting platforms.tiktok.media_hosts' in found.remedy
    assert found.error == ErrorCode.PLATFORM_CHANGED


def test_only_the_media_hosts_of_most_videos_are_problems() -> None:
    found = find_problems(media_hosts(*range(9, 0, -1)))
    assert [each.message.partition(" ")[0] for each in found] == ["9", "8", "7", "6", "5"]


def test_only_the_most_frequent_codes_are_problems_of_their_own() -> None:
    counts = {f"code{number}": 50 - number for number in range(20)}
    found = find_problems(facts(dead_letters=DeadLetterCounts(waiting=counts)))
    assert [each.error for each in found] == [f"code{number}" for number in range(5)]
