import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.caching.ttl_lru import ENTRY_OVERHEAD_BYTES, BoundedCache
from tests.unit.agents.builders import Clock
from tests.unit.agents.caching.reports import Told

pytestmark = pytest.mark.untraced

LIFE = 10.0


class Kit:
    """A cache of numbers that have the size of their value, with a clock and a report."""

    def __init__(self, entries: int = 3) -> None:
        self.clock, self.told = Clock(), Told()
        self.cache: BoundedCache[str, int] = BoundedCache(
            "numbers",
            LIFE,
            bytes_max=entries * ENTRY_OVERHEAD_BYTES,
            size_of=lambda _key, value: value,
            clock=self.clock,
            report=self.told,
        )

    def fill(self, keys: str) -> None:
        for key in keys:
            self.cache.set(key, 0)

    def known(self, keys: str = "abcdefgh") -> str:
        return "".join(key for key in keys if self.cache.peek(key) is not None)


@pytest.mark.parametrize(
    ("life", "age", "is_there"),
    [
        (None, LIFE - 0.1, True),
        (None, LIFE, False),
        (2.0, 1.9, True),
        (2.0, 2.0, False),
        (20.0, LIFE, True),
        (0.0, 0.0, False),
        (-1.0, 0.0, False),
    ],
)
def test_an_entry_has_its_life(life: float | None, age: float, is_there: bool) -> None:
    kit = Kit()
    kit.cache.set("a", 0, life)
    kit.clock.now += age
    assert (kit.cache.get("a") is not None) is is_there
    assert len(kit.cache) == is_there


def test_of_too_many_the_least_recently_used_goes() -> None:
    kit = Kit(entries=3)
    kit.fill("abc")
    kit.cache.get("a")
    kit.fill("d")
    assert kit.known() == "acd"
    assert kit.told.evictions == {("numbers", "lru"): 1}


def test_a_large_entry_takes_the_place_of_several() -> None:
    kit = Kit(entries=4)
    kit.fill("abc")
    kit.cache.set("d", 2 * ENTRY_OVERHEAD_BYTES)
    assert kit.known() == "cd"
    assert kit.cache.size_bytes == 4 * ENTRY_OVERHEAD_BYTES


def test_what_is_larger_than_all_room_is_not_kept_and_replaces_nothing_old() -> None:
    kit = Kit(entries=3)
    kit.fill("ab")
    kit.cache.set("a", 3 * ENTRY_OVERHEAD_BYTES)
    assert kit.known() == "b"


def test_an_entry_is_replaced_with_its_size_and_its_life() -> None:
    kit = Kit(entries=3)
    kit.cache.set("a", ENTRY_OVERHEAD_BYTES, 1.0)
    kit.cache.set("a", 0, 5.0)
    assert kit.cache.size_bytes == ENTRY_OVERHEAD_BYTES
    kit.clock.now += 2
    assert kit.known() == "a"
    kit.clock.now += 3
    assert kit.known() == ""
    assert kit.cache.size_bytes == 0


def test_what_is_over_makes_room_without_costing_others() -> None:
    kit = Kit(entries=3)
    kit.cache.set("a", 0, 1.0)
    kit.fill("bc")
    kit.clock.now += 1
    kit.fill("d")
    assert kit.known() == "bcd"
    assert kit.told.evictions == {("numbers", "ttl"): 1}


def test_deleting_is_counted_once_and_never_fails() -> None:
    kit = Kit()
    kit.fill("ab")
    for key in "aac":
        kit.cache.delete(key)
    assert kit.known() == "b"
    assert kit.told.evictions == {("numbers", "invalidated"): 1}
    kit.clock.now += LIFE
    kit.cache.delete("b")
    assert kit.told.evictions["numbers", "ttl"] == 1


@pytest.mark.parametrize(
    ("share", "left"), [(0.0, "abcdef"), (0.5, "def"), (0.51, "ef"), (1.0, "")]
)
def test_when_memory_is_short_the_least_recently_used_go(share: float, left: str) -> None:
    kit = Kit(entries=6)
    kit.fill("abcdef")
    kit.cache.shed(share)
    assert kit.known() == left
    assert kit.told.evictions["numbers", "memory"] == 6 - len(left)


def test_again_and_again_leaves_nothing() -> None:
    kit = Kit(entries=6)
    kit.fill("abcdef")
    for _ in range(4):
        kit.cache.shed(0.5)
    assert len(kit.cache) == 0
    kit.cache.shed(0.5)


def test_a_sweep_frees_what_is_over_and_tells_what_is_left() -> None:
    kit = Kit()
    kit.cache.set("a", 0, 1.0)
    kit.fill("b")
    kit.clock.now += 1
    kit.cache.sweep()
    assert kit.told.sizes == {("numbers", "memory"): (1, ENTRY_OVERHEAD_BYTES)}
    assert kit.told.evictions == {("numbers", "ttl"): 1}


def test_look_ups_are_counted_but_not_glances() -> None:
    kit = Kit()
    kit.fill("a")
    for key in "aab":
        kit.cache.get(key)
        kit.cache.peek(key)
    assert kit.told.lookups == {
        ("numbers", "memory", "hit"): 2,
        ("numbers", "memory", "miss"): 1,
    }


# Against a model

ROOM = 4 * ENTRY_OVERHEAD_BYTES
KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, ROOM), st.integers(0, 9)),
    st.tuples(st.just("get"), KEYS, st.just(0), st.just(0.0)),
    st.tuples(st.just("delete"), KEYS, st.just(0), st.just(0.0)),
    st.tuples(st.just("wait"), st.just(""), st.just(0), st.integers(0, 5)),
    st.tuples(st.just("shed"), st.just(""), st.just(0), st.floats(0, 1)),
)


class Model:
    """The same in the plainest way: (key, value, end), the least recently used first."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, float]] = []

    def size(self) -> int:
        return sum(value + ENTRY_OVERHEAD_BYTES for _, value, _ in self.entries)

    def take(self, key: str) -> tuple[str, int, float] | None:
        found = next((each for each in self.entries if each[0] == key), None)
        self.entries = [each for each in self.entries if each[0] != key]
        return found

    def shrink(self, size: float) -> None:
        while self.size() > size:
            self.entries.pop(0)

    def run(self, what: str, key: str, value: int, seconds: float, now: float) -> int | None:
        self.entries = [each for each in self.entries if each[2] > now]
        if what == "shed":
            self.shrink(self.size() * (1 - seconds))
            return None
        found = self.take(key)
        if what == "get" and found is not None:
            self.entries.append(found)
        size = value + ENTRY_OVERHEAD_BYTES
        if what == "set" and size <= ROOM and seconds > 0:
            self.shrink(ROOM - size)
            self.entries.append((key, value, now + seconds))
        return found[1] if found and what == "get" else None


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_it_does_what_the_model_does(steps: list[tuple[str, str, int, float]]) -> None:
    kit, model = Kit(entries=4), Model()
    for what, key, value, seconds in steps:
        kit.clock.now += seconds if what == "wait" else 0
        expected = model.run(what, key, value, seconds, kit.clock.now)
        match what:
            case "set":
                kit.cache.set(key, value, seconds)
            case "get":
                assert kit.cache.get(key) == expected
            case "delete":
                kit.cache.delete(key)
            case "shed":
                kit.cache.shed(seconds)
        assert kit.cache.size_bytes == model.size() <= ROOM
    assert set(kit.known("abcdef")) == {each[0] for each in model.entries}
