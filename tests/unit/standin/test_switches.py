import pytest

from tests.standin import user_name, video_id
from tests.standin.scenarios import Surface
from tests.standin.switches import Switches


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def switches(clock: Clock) -> Switches:
    return Switches(clock)


def names(switches: Switches, count: int, video: str = "1", surface: Surface = "page") -> list[str]:
    return [switches.use(surface, video).scenario.name for _ in range(count)]


def test_most_specific_setting_takes_precedence(switches: Switches) -> None:
    video, user = video_id("page.404"), user_name("page.500")
    order = [switches.use("page", video).scenario.name]
    order.append(switches.use("page", video, user).scenario.name)
    switches.set("page.503")
    order.append(switches.use("page", video, user).scenario.name)
    switches.set("page.403", video=video)
    order.append(switches.use("page", video, user).scenario.name)

    assert order == ["page.404", "page.500", "page.503", "page.403"]


def test_surfaces_are_independent(switches: Switches) -> None:
    switches.set("page.503")
    video = video_id("media.reset")

    assert switches.use("media", video).scenario.name == "media.reset"
    assert switches.use("post", video).scenario.name == "ok"
    assert switches.use("page", video).scenario.name == "page.503"


def test_scenario_applies_to_the_first_requests_only(switches: Switches) -> None:
    video = video_id("page.503", times=2)

    assert names(switches, 4, video) == ["page.503", "page.503", "ok", "ok"]


def test_requests_are_counted_per_video(switches: Switches) -> None:
    switches.set("page.429", times=1)

    assert names(switches, 2, "1") == ["page.429", "ok"]
    assert names(switches, 2, "2") == ["page.429", "ok"]


def test_setting_again_resets_the_count(switches: Switches) -> None:
    switches.set("page.503", times=1, video="1")
    assert names(switches, 2) == ["page.503", "ok"]
    switches.set("page.503", times=1, video="1")
    assert names(switches, 2) == ["page.503", "ok"]


def test_peek_and_last_do_not_count(switches: Switches) -> None:
    video = video_id("expired", times=1)
    assert [switches.peek("post", video).scenario.name for _ in range(3)] == ["expired"] * 3
    switches.use("post", video)

    assert switches.peek("post", video).scenario.name == "ok"
    assert switches.last("post", video).scenario.name == "expired"
    switches.use("post", video)
    assert switches.last("post", video).scenario.name == "ok"


def test_switch_expires_after_its_time(switches: Switches, clock: Clock) -> None:
    switches.set("page.503", for_seconds=30)
    clock.now += 29.9
    assert names(switches, 1) == ["page.503"]
    clock.now += 0.2
    assert names(switches, 1) == ["ok"]


def test_clearing_one_video_keeps_the_others(switches: Switches) -> None:
    switches.set("page.503")
    switches.set("page.404", video="1")
    switches.clear("1")
    assert names(switches, 1) == ["page.503"]
    switches.clear("")
    assert names(switches, 1) == ["ok"]


def test_reset_restores_the_defaults(switches: Switches) -> None:
    video = video_id("page.503", times=1)
    switches.use("page", video)
    switches.set("page.404")
    switches.latency_seconds, switches.media_bytes_per_second = 1.0, 10.0
    switches.reset()

    assert names(switches, 2, video) == ["page.503", "ok"]
    assert switches.latency_seconds == 0.0
    assert switches.media_bytes_per_second is None


def test_regular_requests_are_not_recorded(switches: Switches) -> None:
    names(switches, 50, video_id(serial=3))

    assert not switches._seen


def test_unknown_scenarios_are_refused(switches: Switches) -> None:
    with pytest.raises(ValueError, match=r"no scenario is called 'page\.999'"):
        switches.set("page.999")


def by_egress(switches: Switches, *egresses: str, video: str = "1") -> list[str]:
    return [switches.use("page", video, "", egress).scenario.name for egress in egresses]


def test_switch_for_one_egress_does_not_affect_others(switches: Switches) -> None:
    switches.set("withheld", egress="a")

    assert by_egress(switches, "a", "b", "", "a") == ["withheld", "ok", "ok", "withheld"]


def test_switch_without_an_egress_applies_to_all(switches: Switches) -> None:
    switches.set("layout")

    assert by_egress(switches, "a", "b", "") == ["layout"] * 3
    assert names(switches, 1, video_id("page.404")) == ["layout"]


def test_video_takes_precedence_over_the_egress(switches: Switches) -> None:
    switches.set("page.500")
    assert by_egress(switches, "a", "b") == ["page.500", "page.500"]
    switches.set("page.502", egress="a")
    assert by_egress(switches, "a", "b") == ["page.502", "page.500"]
    switches.set("page.503", video="1")
    assert by_egress(switches, "a", "b") == ["page.503", "page.503"]
    switches.set("page.404", video="1", egress="a")
    assert by_egress(switches, "a", "b") == ["page.404", "page.503"]


def test_requests_are_counted_per_switched_egress(switches: Switches) -> None:
    switches.set("page.429", times=1, egress="a")
    switches.set("page.429", times=2, egress="b")

    found = by_egress(switches, "a", "b", "a", "b", "b")
    assert found == ["page.429", "page.429", "ok", "page.429", "ok"]
    switches.set("page.429", times=1, egress="a")
    assert by_egress(switches, "a", "a", "b") == ["page.429", "ok", "ok"]


@pytest.mark.parametrize(
    ("cleared", "remaining"),
    [
        pytest.param({}, [], id="everything"),
        pytest.param({"egress": "a"}, ["all", "one"], id="an egress"),
        pytest.param({"egress": ""}, ["all a", "one a"], id="all egresses"),
        pytest.param({"video": "1"}, ["all", "all a"], id="a video"),
        pytest.param({"video": "1", "egress": "a"}, ["all", "all a", "one"], id="both"),
        pytest.param({"egress": "c"}, ["all", "all a", "one", "one a"], id="another"),
    ],
)
def test_clear_removes_the_matching_switches(
    switches: Switches, cleared: dict[str, str], remaining: list[str]
) -> None:
    switched = {"all": ("", ""), "all a": ("", "a"), "one": ("1", ""), "one a": ("1", "a")}
    for video, egress in switched.values():
        switches.set("page.503", video=video, egress=egress)
    switches.clear(**cleared)

    assert switches._active.keys() == {(*switched[name], "page") for name in remaining}
