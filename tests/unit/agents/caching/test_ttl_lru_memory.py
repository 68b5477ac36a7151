from agents.caching.ttl_lru import ENTRY_OVERHEAD_BYTES, BoundedCache, MemoryBackend, size_of
from tests.unit.agents.builders import Clock


def backend(clock: Clock, entries: int = 10) -> MemoryBackend:
    bytes_max = entries * (ENTRY_OVERHEAD_BYTES + size_of("a", b"1"))
    return MemoryBackend(BoundedCache("m", 99.0, bytes_max=bytes_max, size_of=size_of, clock=clock))


async def test_value_expires_after_its_ttl() -> None:
    clock = Clock()
    memory = backend(clock)
    await memory.set("a", b"1", 5.0)
    assert (await memory.get("a"), await memory.get("b")) == (b"1", None)
    clock.now += 5
    assert await memory.get("a") is None


async def test_deleted_value_is_a_miss() -> None:
    memory = backend(Clock())
    await memory.set("a", b"1", 5.0)
    await memory.delete("a")
    await memory.delete("never there")
    assert await memory.get("a") is None


async def test_size_includes_keys_and_values() -> None:
    memory = backend(Clock(), entries=2)
    await memory.set("a", b"1", 5.0)
    await memory.set("b", bytes(1 + ENTRY_OVERHEAD_BYTES), 5.0)
    assert await memory.get("a") is None
    await memory.set("k" * 5_000, b"1", 5.0)
    assert await memory.get("k" * 5_000) is None
    assert await memory.get("b") is not None
