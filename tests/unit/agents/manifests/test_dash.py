"""Segments of DASH manifests. Refusals are in `tests/integration/test_hostile_streams.py`."""

import pytest

from agents.manifests.dash import parse_dash
from agents.manifests.dash_template import expand
from agents.manifests.segments import Segment
from agents.network.resource import ByteRange

URL = "https://cdn.mine.example/a/x.mpd?sig=1"


def parse(inside: str, name: str = "v", *, attributes: str = "") -> tuple[Segment, ...]:
    document = f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {attributes}>{inside}</MPD>'
    return parse_dash(document.encode(), URL, name)


def period(inside: str, attributes: str = 'duration="PT10S"', *, id_: str = "v") -> str:
    video = f'<Representation id="{id_}" bandwidth="9">{inside}</Representation>'
    return f"<Period {attributes}><AdaptationSet>{video}</AdaptationSet></Period>"


def names(found: tuple[Segment, ...]) -> list[str]:
    return [each.media.url.rpartition("/")[2] for each in found]


def test_numbers_cover_the_duration() -> None:
    inside = '<SegmentTemplate media="$Number%03d$" duration="3" startNumber="9"/>'
    assert names(parse(period(inside))) == ["009", "010", "011", "012"]


def test_timeline_repeats_up_to_the_next_time_and_the_end() -> None:
    inside = (
        '<SegmentTemplate media="$Time$-$Bandwidth$" timescale="2"><SegmentTimeline>'
        '<S t="4" d="2" r="-1"/><S t="8" d="4" r="-1"/></SegmentTimeline></SegmentTemplate>'
    )
    found = parse(period(inside))
    assert names(found) == ["4-9", "6-9", "8-9", "12-9", "16-9"]
    assert [each.seconds for each in found] == [1.0, 1.0, 2.0, 2.0, 2.0]


def test_addressing_is_inherited_and_base_addresses_are_joined() -> None:
    inside = (
        "<Period duration='PT2S'><BaseURL>b/</BaseURL>"
        "<SegmentTemplate media='$RepresentationID$-$Number$' timescale='1' duration='1'/>"
        "<AdaptationSet><BaseURL>../c/</BaseURL><Representation id='v'>"
        "<SegmentTemplate initialization='init'/></Representation></AdaptationSet></Period>"
    )
    found = parse(inside)
    base = "https://cdn.mine.example/a/c/"
    assert [each.media.url for each in found] == [f"{base}v-1", f"{base}v-2"]
    assert {each.init.url for each in found if each.init} == {f"{base}init"}


def test_lists_have_ranges() -> None:
    inside = (
        '<BaseURL>a.mp4</BaseURL><SegmentList duration="5"><Initialization range="0-9"/>'
        '<SegmentURL mediaRange="10-19"/><SegmentURL media="b.mp4"/></SegmentList>'
    )
    found = parse(period(inside))
    assert names(found) == ["a.mp4", "b.mp4"]
    assert [each.media.byte_range for each in found] == [ByteRange(10, 19), None]
    assert found[0].init is not None
    assert found[0].init.byte_range == ByteRange(0, 9)


def test_representation_without_addressing_is_a_whole_file() -> None:
    (found,) = parse(period("<BaseURL>a.mp4</BaseURL>"))
    assert (found.media.url, found.seconds) == ("https://cdn.mine.example/a/a.mp4", 10.0)


def test_periods_have_shifts_from_media_to_presentation_time() -> None:
    template = '<SegmentTemplate media="{}" duration="10" timescale="10" {}/>'
    found = parse(
        period(template.format("a$Number$", 'presentationTimeOffset="5"'), 'start="PT0S"')
        + period(template.format("b$Number$", 'presentationTimeOffset="100"'), 'start="PT2S"'),
        attributes='mediaPresentationDuration="PT3.5S"',
    )
    assert names(found) == ["a1", "a2", "b1", "b2"]
    assert [each.shift_seconds for each in found] == [-0.5, -0.5, -8.0, -8.0]
    assert [each.discontinuity for each in found] == [True, False, True, False]


@pytest.mark.parametrize("name", ["v-1", "dash-v-1", "other-dash-v-1"])
def test_prefix_of_a_format_is_ignored_and_the_longest_id_wins(name: str) -> None:
    inside = "".join(
        f'<Representation id="{id_}"><BaseURL>{id_}</BaseURL></Representation>'
        for id_ in ("1", "v-1", "xv-1")
    )
    found = parse(f'<Period duration="PT1S"><AdaptationSet>{inside}</AdaptationSet></Period>', name)
    assert names(found) == ["v-1"]


def test_representation_without_an_id_is_found_by_its_kind() -> None:
    inside = '<AdaptationSet mimeType="audio/mp4"><Representation/></AdaptationSet>'
    assert len(parse(f"<Period>{inside}</Period>", "dash-audio")) == 1


def test_dollars_and_widths_are_expanded() -> None:
    values = {"Number": "7", "Bandwidth": "1000"}
    assert expand("a$$b$Number%04d$-$Bandwidth$-$Other$", values) == "a$b0007-1000-$Other$"
