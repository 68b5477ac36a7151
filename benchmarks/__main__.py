"""Run all benchmarks, or the named ones."""

import asyncio
import importlib
import sys

NAMES = (
    "pipeline",
    "extraction",
    "challenges",
    "media",
    "paths",
    "streams",
    "caches",
    "tables",
    "recovery",
    "history",
    "console",
    "idle",
    "tracing",
)


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n# {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        asyncio.run(module.main())


if __name__ == "__main__":
    main()
