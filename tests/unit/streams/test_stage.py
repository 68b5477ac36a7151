from dataclasses import FrozenInstanceError, replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from streams import stage as module
from streams.settings import Settings, StageSettings
from streams.stage import Stage, UnknownStageError, chained_topics, load_stages, topics_of
from streams.topics import (
    AUDIT,
    DEADLETTERS,
    EXTRACTED,
    REQUESTS,
    RESULTS,
    SIGNALS,
    TOPICS,
    VALIDATED,
    Topic,
    changelog_topic,
    reply_topic,
)

pytestmark = pytest.mark.usefixtures("own_settings")

FIRST = Stage("first", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())
SECOND = Stage("second", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(**given: Any) -> list[EntryPoint]:
        assert given == {"group": "clipmill.stages"}
        return [
            EntryPoint(name, f"{__name__}:{name.upper()}", "clipmill.stages")
            for name in ("first", "second")
        ]

    monkeypatch.setattr(module, "entry_points", entry_points)


@pytest.mark.parametrize(
    ("names", "stages"),
    [
        ((), [FIRST, SECOND]),
        (("second",), [SECOND]),
        (("second", "first"), [SECOND, FIRST]),
        (("first", "first"), [FIRST]),
    ],
)
def test_stages_are_loaded_once_in_the_given_order(
    names: tuple[str, ...], stages: list[Stage]
) -> None:
    assert load_stages(names) == stages


def test_unknown_stage_error_lists_unknown_and_installed_stages() -> None:
    with pytest.raises(
        UnknownStageError, match="no stage named third, zeroth; available: first, second"
    ):
        load_stages(("zeroth", "first", "third"))


def test_concurrency_and_window_come_from_the_settings() -> None:
    settings = Settings(stage=StageSettings(concurrency=3, window=5))
    assert (FIRST.concurrency(settings), FIRST.window(settings)) == (3, 5)


def test_stage_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        FIRST.name = "x"  # type: ignore[misc]


def test_topics_of_stages_alone_are_created_once_before_the_changelogs() -> None:
    own = Topic("covers", "video key", "Covers of videos.")
    writer = replace(FIRST, writes=(REQUESTS, own), tables=("rows",))
    reader = replace(SECOND, sources=(own,), writes=())
    expected = [*TOPICS, own, changelog_topic("first", "rows")]
    assert topics_of([writer, reader]) == expected


def test_stage_produces_its_declared_topics_and_dead_letters_once() -> None:
    stage = replace(FIRST, writes=(SIGNALS, REQUESTS))
    assert stage.produces == (REQUESTS, DEADLETTERS, SIGNALS)


OWN = Topic("thumbnails", "video key", "Pictures to fetch.")


@pytest.mark.parametrize(
    ("sources", "other", "chained"),
    [
        ((VALIDATED,), (REQUESTS,), {VALIDATED}),
        ((VALIDATED, EXTRACTED), (EXTRACTED,), {VALIDATED}),
        ((OWN,), (REQUESTS,), {OWN}),
        ((AUDIT, RESULTS, REQUESTS), (), set()),
        ((reply_topic("billing"),), (), set()),
    ],
)
def test_topic_is_chained_if_a_chained_stage_is_its_only_reader(
    sources: tuple[Topic, ...], other: tuple[Topic, ...], chained: set[Topic]
) -> None:
    stages = [replace(FIRST, sources=sources, chained=True), replace(SECOND, sources=other)]
    assert chained_topics(stages) == chained


def test_topics_of_stages_that_are_not_chained_are_not() -> None:
    assert chained_topics([replace(FIRST, sources=(VALIDATED,))]) == frozenset()


def test_stage_that_holds_records_cannot_be_chained() -> None:
    with pytest.raises(ValueError, match="first is chained and holds records until due"):
        replace(FIRST, chained=True, due=lambda *_: None)
