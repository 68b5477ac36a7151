"""Pages behind TikTok's proof of work, solved by yt-dlp's loop and by the engine's two solvers.

The solutions are spread evenly from 0 to a million. Each solver gets the same challenges.
"""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agents.engine.proof_of_work import NUMBER_MAX, load_native, search_in_python
from agents.engine.request_bounds import Deadline
from benchmarks.children.arguments import Extractions
from benchmarks.children.challenged_pages import PageUsage
from benchmarks.children.stopwatch import Usage
from benchmarks.measuring import Environment, in_rounds, load_average, open_environment
from tests.standin import video_id

ROUNDS = 3
IN_FLIGHT = 16
WARM = 16
SHARES = (0, 50, 100)
"""Percentages of challenged pages."""

SECONDS_MAX = 600.0
LOOP_NUMBERS = 50_000


@dataclass(frozen=True)
class Variant:
    """A solver, and a share of challenged pages.

    Attributes:
        solver: of `benchmarks.children.challenged_pages`.
        share: percent.
        pages: measured pages.
    """

    solver: str
    share: int
    pages: int

    @property
    def name(self) -> str:
        return f"{self.solver}, {self.share} %"


VARIANTS = tuple(
    Variant(solver, share, pages)
    for share in SHARES
    for solver, pages in (("yt-dlp", 32), ("python", 32), ("native", 120))
)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_environment(Path(directory)) as environment:
            found = await in_rounds(
                VARIANTS, lambda variant: _measure(environment, variant), ROUNDS
            )
    print(
        f"{'':16}{'rate':>10}{'CPU each':>12}   ordinary pages: median, slowest   ratios to yt-dlp"
    )
    for variant in VARIANTS:
        print(_line(variant, found[variant.name], found[f"yt-dlp, {variant.share} %"]))
    print(f"medians of {ROUNDS} rounds, {IN_FLIGHT} pages in flight in two engine processes")
    print("\n".join(_loops()))
    print(load_average())


async def _measure(environment: Environment, variant: Variant) -> Usage:
    urls = [f"https://www.tiktok.com/@_/video/{video}" for video in _videos(variant)]
    arguments = Extractions(
        proxy=environment.proxy,
        ca_file=environment.ca_file,
        ca_bundle=environment.ca_bundle,
        warm=[f"https://www.tiktok.com/@_/video/{video_id(serial=n)}" for n in range(WARM)],
        urls=urls,
        variant=variant.solver,
        in_flight=IN_FLIGHT,
    )
    return await environment.measure("challenged_pages", arguments, PageUsage, SECONDS_MAX)


def _videos(variant: Variant) -> list[str]:
    """Return video ids, the challenged ones spread evenly among them."""
    return [
        video_id(
            "challenge.any" if number * variant.share % 100 < variant.share else "ok", serial=number
        )
        for number in range(1, variant.pages + 1)
    ]


def _line(variant: Variant, usage: Usage, reference: Usage) -> str:
    assert isinstance(usage, PageUsage)
    assert isinstance(reference, PageUsage)
    pages = next(each.pages for each in VARIANTS if each.name == f"yt-dlp, {variant.share} %")
    rate, cpu = variant.pages / usage.seconds, usage.cpu_seconds / variant.pages
    rates, cpus = rate * reference.seconds / pages, cpu * pages / reference.cpu_seconds
    waits = f"{usage.ordinary_median * 1e3:14.0f} ms {usage.ordinary_slowest * 1e3:8.0f} ms"
    ratios = f"rate {rates:6.2f}, CPU {cpus:5.2f}"
    return f"{variant.name:16}{rate:8.1f}/s{cpu * 1e3:9.1f} ms{waits}     {ratios}"


def _loops() -> list[str]:
    """Return the time per number, and of an average challenge, of each loop alone."""
    deadline = Deadline()
    deadline.start(SECONDS_MAX)
    native = load_native()
    lines = [_loop("yt-dlp's loop", _stock, LOOP_NUMBERS)]
    lines.append(_loop("the engine's loop in Python", _one_slice, LOOP_NUMBERS))
    if native is not None:
        lines.append(
            _loop("the C library", lambda _: native(b"s" * 32, bytes(32), deadline), NUMBER_MAX)
        )
    return lines


def _loop(name: str, search: Callable[[int], object], numbers: int) -> str:
    started = time.process_time()
    search(numbers)
    each = (time.process_time() - started) / numbers
    half = each * NUMBER_MAX / 2 * 1e3
    return f"{name}: {each * 1e6:.3f} us a number, {half:.0f} ms for an average challenge"


def _stock(numbers: int) -> None:
    base = hashlib.sha256(b"s" * 32)
    for number in range(numbers):
        candidate = base.copy()
        candidate.update(str(number).encode())
        if candidate.digest() == b"":
            return


def _one_slice(numbers: int) -> None:
    deadline = Deadline()
    deadline.start(SECONDS_MAX)
    digest = hashlib.sha256(b"s" * 32 + str(numbers).encode()).digest()
    search_in_python(b"s" * 32, digest, deadline)


if __name__ == "__main__":
    asyncio.run(main())
