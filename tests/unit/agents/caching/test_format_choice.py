from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching import format_choice
from agents.caching.format_choice import TTL_SECONDS, FormatChoices, size_of
from agents.caching.metadata import MetadataCache, PageMetadata
from agents.caching.ttl_lru import BoundedCache
from agents.formats.selection import choose_files
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError
from schemas.request import Options
from tests.unit.agents.builders import VIDEO, Clock, make_extraction

PAGE = MetadataCache().read(TikTok(), VIDEO, make_extraction())


class FormatChoiceHarness:
    """Format choices, and how often one was computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed = 0
        self.clock = Clock()
        store = BoundedCache(format_choice.NAME, TTL_SECONDS, size_of=size_of, clock=self.clock)
        self.choices = FormatChoices(store)
        monkeypatch.setattr(format_choice, "choose_files", self._choose)

    def _choose(self, *args: Any) -> Any:
        self.computed += 1
        return choose_files(*args)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> FormatChoiceHarness:
    return FormatChoiceHarness(monkeypatch)


def test_choice_is_computed_once(harness: FormatChoiceHarness) -> None:
    first = harness.choices.choose(VIDEO, PAGE, Options())
    assert harness.choices.choose(VIDEO, PAGE, Options()) is first
    assert harness.computed == 1


OTHERS: dict[str, tuple[Any, ...]] = {
    "options": (VIDEO, PAGE, Options(quality="480p"), ()),
    "video": (msgspec.structs.replace(VIDEO, id="1"), PAGE, Options(), ()),
    "page": (VIDEO, PageMetadata(PAGE.info, PAGE.sources, b"another"), Options(), ()),
    "avoided": (VIDEO, PAGE, Options(), ("h264_1080p_1600000",)),
    "silent": (VIDEO, PAGE, Options(), (), ("h264_1080p_1600000",)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_input_is_another_choice(name: str, harness: FormatChoiceHarness) -> None:
    harness.choices.choose(VIDEO, PAGE, Options())
    harness.choices.choose(*OTHERS[name])
    assert harness.computed == 2


SAME = {
    "refresh": (Options(refresh=True), ()),
    "limit": (Options(limit=5), ()),
    "avoided in another order": (Options(), ("b", "a")),
}


@pytest.mark.parametrize("name", SAME)
def test_unrelated_options_share_the_choice(name: str, harness: FormatChoiceHarness) -> None:
    options, avoided = SAME[name]
    harness.choices.choose(VIDEO, PAGE, Options(), tuple(reversed(avoided)))
    harness.choices.choose(VIDEO, PAGE, options, avoided)
    assert harness.computed == 1


@pytest.mark.parametrize(("age", "computed"), [(TTL_SECONDS - 1, 1), (TTL_SECONDS, 2)])
def test_choice_expires_after_its_ttl(
    age: float, computed: int, harness: FormatChoiceHarness
) -> None:
    harness.choices.choose(VIDEO, PAGE, Options())
    harness.clock.now += age
    harness.choices.choose(VIDEO, PAGE, Options())
    assert harness.computed == computed


def test_refusal_is_not_cached(harness: FormatChoiceHarness) -> None:
    for _ in range(2):
        with pytest.raises(ClipmillError):
            harness.choices.choose(VIDEO, PAGE, Options(container="webm", degrade=False))
    assert harness.computed == 2


@given(
    quality=st.sampled_from(["best", "1080p", "720p", "480p", "360p", "worst"]),
    codec=st.sampled_from(["any", "h264", "h265"]),
    avoided=st.sets(st.sampled_from([each.format.format_id for each in PAGE.sources]), max_size=3),
)
def test_cached_choice_equals_the_computed_one(quality: Any, codec: Any, avoided: set[str]) -> None:
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
        urls = {(source.url, source.cookies) for source in PAGE.sources}
        assert all((file.url, file.cookies) in urls for file in files)
