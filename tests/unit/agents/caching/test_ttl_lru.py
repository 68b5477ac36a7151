import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.caching.ttl_lru import ENTRY_OVERHEAD_BYTES, BoundedCache
from tests.unit.agents.builders import Clock
from tests.unit.agents.caching.reports import CountingReport

pytestmark = pytest.mark.untraced

TTL_SECONDS = 10.0


class CacheHarness:
    """A cache of integers, sized by their value, with a clock and a report."""

    def __init__(self, entries: int = 3) -> None:
        self.clock, self.report = Clock(), CountingReport()
        self.cache: BoundedCache[str, int] = BoundedCache(
            "numbers",
            TTL_SECONDS,
            bytes_max=entries * ENTRY_OVERHEAD_BYTES,
            size_of=lambda _key, value: value,
            clock=self.clock,
            report=self.report,
        )

    def fill(self, keys: str) -> None:
        for key in keys:
            self.cache.set(key, 0)

    def present_keys(self, keys: str = "abcdefgh") -> str:
        return "".join(key for key in keys if self.cache.peek(key) is not None)


@pytest.mark.parametrize(
    ("ttl_seconds", "age", "is_present"),
    [
        (None, TTL_SECONDS - 0.1, True),
        (None, TTL_SECONDS, False),
        (2.0, 1.9, True),
        (2.0, 2.0, False),
        (20.0, TTL_SECONDS, True),
        (0.0, 0.0, False),
        (-1.0, 0.0, False),
    ],
)
def test_entry_expires_after_its_ttl(
    ttl_seconds: float | None, age: float, is_present: bool
) -> None:
    harness = CacheHarness()
    harness.cache.set("a", 0, ttl_seconds)
    harness.clock.now += age
    assert (harness.cache.get("a") is not None) is is_present
    assert len(harness.cache) == is_present


def test_least_recently_used_entry_is_evicted() -> None:
    harness = CacheHarness(entries=3)
    harness.fill("abc")
    harness.cache.get("a")
    harness.fill("d")
    assert harness.present_keys() == "acd"
    assert harness.report.evictions == {("numbers", "lru"): 1}


def test_large_entry_evicts_several() -> None:
    harness = CacheHarness(entries=4)
    harness.fill("abc")
    harness.cache.set("d", 2 * ENTRY_OVERHEAD_BYTES)
    assert harness.present_keys() == "cd"
    assert harness.cache.size_bytes == 4 * ENTRY_OVERHEAD_BYTES


def test_oversized_entry_is_not_kept_and_evicts_only_its_old_value() -> None:
    harness = CacheHarness(entries=3)
    harness.fill("ab")
    harness.cache.set("a", 3 * ENTRY_OVERHEAD_BYTES)
    assert harness.present_keys() == "b"


def test_replaced_entry_has_the_new_size_and_ttl() -> None:
    harness = CacheHarness(entries=3)
    harness.cache.set("a", ENTRY_OVERHEAD_BYTES, 1.0)
    harness.cache.set("a", 0, 5.0)
    assert harness.cache.size_bytes == ENTRY_OVERHEAD_BYTES
    harness.clock.now += 2
    assert harness.present_keys() == "a"
    harness.clock.now += 3
    assert harness.present_keys() == ""
    assert harness.cache.size_bytes == 0


def test_expired_entry_is_evicted_before_others() -> None:
    harness = CacheHarness(entries=3)
    harness.cache.set("a", 0, 1.0)
    harness.fill("bc")
    harness.clock.now += 1
    harness.fill("d")
    assert harness.present_keys() == "bcd"
    assert harness.report.evictions == {("numbers", "ttl"): 1}


def test_delete_is_counted_once_and_never_fails() -> None:
    harness = CacheHarness()
    harness.fill("ab")
    for key in "aac":
        harness.cache.delete(key)
    assert harness.present_keys() == "b"
    assert harness.report.evictions == {("numbers", "invalidated"): 1}
    harness.clock.now += TTL_SECONDS
    harness.cache.delete("b")
    assert harness.report.evictions["numbers", "ttl"] == 1


@pytest.mark.parametrize(
    ("share", "remaining"), [(0.0, "abcdef"), (0.5, "def"), (0.51, "ef"), (1.0, "")]
)
def test_shed_evicts_the_least_recently_used_share(share: float, remaining: str) -> None:
    harness = CacheHarness(entries=6)
    harness.fill("abcdef")
    harness.cache.shed(share)
    assert harness.present_keys() == remaining
    assert harness.report.evictions["numbers", "memory"] == 6 - len(remaining)


def test_repeated_shed_empties_the_cache() -> None:
    harness = CacheHarness(entries=6)
    harness.fill("abcdef")
    for _ in range(4):
        harness.cache.shed(0.5)
    assert len(harness.cache) == 0
    harness.cache.shed(0.5)


def test_sweep_evicts_expired_entries_and_reports_the_size() -> None:
    harness = CacheHarness()
    harness.cache.set("a", 0, 1.0)
    harness.fill("b")
    harness.clock.now += 1
    harness.cache.sweep()
    assert harness.report.sizes == {("numbers", "memory"): (1, ENTRY_OVERHEAD_BYTES)}
    assert harness.report.evictions == {("numbers", "ttl"): 1}


def test_get_is_counted_as_a_lookup_and_peek_is_not() -> None:
    harness = CacheHarness()
    harness.fill("a")
    for key in "aab":
        harness.cache.get(key)
        harness.cache.peek(key)
    assert harness.report.lookups == {
        ("numbers", "memory", "hit"): 2,
        ("numbers", "memory", "miss"): 1,
    }


# Against a model

BYTES_MAX = 4 * ENTRY_OVERHEAD_BYTES
KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, BYTES_MAX), st.integers(0, 9)),
    st.tuples(st.just("get"), KEYS, st.just(0), st.just(0.0)),
    st.tuples(st.just("delete"), KEYS, st.just(0), st.just(0.0)),
    st.tuples(st.just("wait"), st.just(""), st.just(0), st.integers(0, 5)),
    st.tuples(st.just("shed"), st.just(""), st.just(0), st.floats(0, 1)),
)


class Model:
    """Reference model: (key, value, expiry), least recently used first."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, float]] = []

    def size(self) -> int:
        return sum(value + ENTRY_OVERHEAD_BYTES for _, value, _ in self.entries)

    def pop(self, key: str) -> tuple[str, int, float] | None:
        found = next((each for each in self.entries if each[0] == key), None)
        self.entries = [each for each in self.entries if each[0] != key]
        return found

    def shrink(self, size: float) -> None:
        while self.size() > size:
            self.entries.pop(0)

    def run(self, operation: str, key: str, value: int, seconds: float, now: float) -> int | None:
        self.entries = [each for each in self.entries if each[2] > now]
        if operation == "shed":
            self.shrink(self.size() * (1 - seconds))
            return None
        found = self.pop(key)
        if operation == "get" and found is not None:
            self.entries.append(found)
        size = value + ENTRY_OVERHEAD_BYTES
        if operation == "set" and size <= BYTES_MAX and seconds > 0:
            self.shrink(BYTES_MAX - size)
            self.entries.append((key, value, now + seconds))
        return found[1] if found and operation == "get" else None


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_cache_matches_the_model(steps: list[tuple[str, str, int, float]]) -> None:
    harness, model = CacheHarness(entries=4), Model()
    for operation, key, value, seconds in steps:
        harness.clock.now += seconds if operation == "wait" else 0
        expected = model.run(operation, key, value, seconds, harness.clock.now)
        match operation:
            case "set":
                harness.cache.set(key, value, seconds)
            case "get":
                assert harness.cache.get(key) == expected
            case "delete":
                harness.cache.delete(key)
            case "shed":
                harness.cache.shed(seconds)
        assert harness.cache.size_bytes == model.size() <= BYTES_MAX
    assert set(harness.present_keys("abcdef")) == {each[0] for each in model.entries}
