from streams.observability.health import WARNING_SECONDS, WARNINGS_MAX, Health


def test_without_parts_there_are_no_problems() -> None:
    assert Health().problems() == {}


def test_problems_are_named_by_part_and_asked_for_each_time() -> None:
    health = Health()
    states: dict[str, str | None] = {"disk": "is full", "engine": None}
    health.watch("disk", lambda: states["disk"])
    health.watch("engine", lambda: states["engine"])
    assert health.problems() == {"disk": "is full"}
    states["disk"], states["engine"] = None, "is dead"
    assert health.problems() == {"engine": "is dead"}


def test_watching_a_part_again_replaces_its_check() -> None:
    health = Health()
    health.watch("disk", lambda: "is full")
    health.watch("disk", lambda: None)
    assert health.problems() == {}


def test_warnings_are_listed_by_part_without_repeats_for_an_hour() -> None:
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


def test_what_is_wrong_elsewhere_is_no_problem_of_this_process() -> None:
    health = Health()
    assert health.degraded() == {}
    health.watch_pipeline(lambda: {"download": "answers no heartbeat"})
    assert health.degraded() == {"download": "answers no heartbeat"}
    assert health.problems() == {}
    assert health.warnings() == {}


def test_oldest_warnings_are_dropped_when_there_are_too_many() -> None:
    health = Health()
    for number in range(WARNINGS_MAX + 1):
        health.warn("validation", str(number))
    assert health.warnings()["validation"][0] == "1"
