from streams.health import Health


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
