from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching import format_choice
from agents.caching.format_choice import LIFE_SECONDS, FormatChoices, size_of
from agents.caching.metadata import MetadataCache, Page
from agents.caching.ttl_lru import BoundedCache
from agents.formats.selection import choose_files
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError
from schemas.request import Options
from tests.unit.agents.builders import VIDEO, Clock, make_extraction

PAGE = MetadataCache().read(TikTok(), VIDEO, make_extraction())


class Kit:
    """Choices, and how often one was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.clock = Clock()
        store = BoundedCache(format_choice.NAME, LIFE_SECONDS, size_of=size_of, clock=self.clock)
        self.choices = FormatChoices(store)
        monkeypatch.setattr(format_choice, "choose_files", self._choose)

    def _choose(self, *args: Any) -> Any:
        self.made += 1
        return choose_files(*args)


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Kit:
    return Kit(monkeypatch)


def test_a_choice_is_made_once(kit: Kit) -> None:
    first = kit.choices.choose(VIDEO, PAGE, Options())
    assert kit.choices.choose(VIDEO, PAGE, Options()) is first
    assert kit.made == 1


OTHERS: dict[str, tuple[Any, ...]] = {
    "options": (VIDEO, PAGE, Options(quality="480p"), ()),
    "video": (msgspec.structs.replace(VIDEO, id="1"), PAGE, Options(), ()),
    "page": (VIDEO, Page(PAGE.info, PAGE.sources, b"another"), Options(), ()),
    "avoided": (VIDEO, PAGE, Options(), ("h264_1080p_1600000",)),
    "silent": (VIDEO, PAGE, Options(), (), ("h264_1080p_1600000",)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_another_choice(name: str, kit: Kit) -> None:
    kit.choices.choose(VIDEO, PAGE, Options())
    kit.choices.choose(*OTHERS[name])
    assert kit.made == 2


SAME = {
    "refresh": (Options(refresh=True), ()),
    "limit": (Options(limit=5), ()),
    "avoided in another order": (Options(), ("b", "a")),
}


@pytest.mark.parametrize("name", SAME)
def test_what_chooses_no_format_is_the_same_choice(name: str, kit: Kit) -> None:
    options, avoided = SAME[name]
    kit.choices.choose(VIDEO, PAGE, Options(), tuple(reversed(avoided)))
    kit.choices.choose(VIDEO, PAGE, options, avoided)
    assert kit.made == 1


@pytest.mark.parametrize(("age", "made"), [(LIFE_SECONDS - 1, 1), (LIFE_SECONDS, 2)])
def test_a_choice_has_its_life(age: float, made: int, kit: Kit) -> None:
    kit.choices.choose(VIDEO, PAGE, Options())
    kit.clock.now += age
    kit.choices.choose(VIDEO, PAGE, Options())
    assert kit.made == made


def test_that_there_is_none_is_not_remembered(kit: Kit) -> None:
    for _ in range(2):
        with pytest.raises(ClipmillError):
            kit.choices.choose(VIDEO, PAGE, Options(container="webm", degrade=False))
    assert kit.made == 2


@given(
    quality=st.sampled_from(["best", "1080p", "720p", "480p", "360p", "worst"]),
    codec=st.sampled_from(["any", "h264", "h265"]),
    avoided=st.sets(st.sampled_from([each.format.format_id for each in PAGE.sources]), max_size=3),
)
def test_what_is_remembered_is_what_would_be_chosen(
    quality: Any, codec: Any, avoided: set[str]
) -> None:
    choices, options = FormatChoices(), Options(quality=quality, codec=codec)
    sources = {source.format.format_id: source for source in PAGE.sources}
    formats = [source.format for source in sources.values()]
    try:
        chosen = choose_files(formats, options, avoided)
    except ClipmillError as refusal:
        with pytest.raises(ClipmillError, match=refusal.code.replace(".", r"\.")):
            choices.choose(VIDEO, PAGE, options, avoided)
        return
    for _ in range(2):
        files = choices.choose(VIDEO, PAGE, options, avoided)
        assert [file.format for file in files] == [each.format for each in chosen]
        places = {(source.url, source.cookies) for source in PAGE.sources}
        assert all((file.url, file.cookies) in places for file in files)
