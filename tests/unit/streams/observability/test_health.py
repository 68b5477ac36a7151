from streams.observability.health import WARNING_SECONDS, WARNINGS_MAX, Health


def test_health_without_checks_has_no_problems() -> None:
    assert Health().problems() == {}


def test_problems_are_named_by_part_and_checked_on_every_call() -> None:
    health = Health()
    states: dict[str, str | None] = {"disk": "is full", "engine": None}
    health.set_check("disk", lambda: states["disk"])
    health.set_check("engine", lambda: states["engine"])
    assert health.problems() == {"disk": "is full"}
    states["disk"], states["engine"] = None, "is dead"
    assert health.problems() == {"engine": "is dead"}


def test_second_check_of_a_part_replaces_the_first() -> None:
    health = Health()
    health.set_check("disk", lambda: "is full")
    health.set_check("disk", lambda: None)
    assert health.problems() == {}


def test_warnings_are_deduplicated_by_part_and_expire() -> None:
    now = 1_000.0
    health = Health(lambda: now)
    health.warn("validation", "one batch")
    health.warn("validation", "one batch")
    health.warn("ledger", "another")
    assert health.warnings() == {"validation": ["one batch"], "ledger": ["another"]}
    assert health.problems() == {}
    now += WARNING_SECONDS + 1
    health.warn("ledger", "a third")
    assert health.warnings() == {"ledger": ["a third"]}


def test_pipeline_check_reports_degraded_but_no_problem() -> None:
    health = Health()
    assert health.degraded() == {}
    health.set_pipeline_check(lambda: {"download": "has committed no heartbeat"})
    assert health.degraded() == {"download": "has committed no heartbeat"}
    assert health.problems() == {}
    assert health.warnings() == {}


def test_oldest_warnings_are_dropped_above_the_maximum() -> None:
    health = Health()
    for number in range(WARNINGS_MAX + 1):
        health.warn("validation", str(number))
    assert health.warnings()["validation"][0] == "1"
