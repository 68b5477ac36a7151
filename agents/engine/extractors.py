"""Finds the extractor class that a job names."""

import importlib
from typing import Any

from yt_dlp.extractor.common import InfoExtractor


def load_extractor(name: str) -> Any:
    """Return the extractor class of a dotted name ``package.module:Class``.

    Raises:
        ImportError: there is no such module.
        AttributeError: there is no such class in it.
        TypeError: it is no extractor class of yt-dlp.
    """
    module, _, kind = name.partition(":")
    found = getattr(importlib.import_module(module), kind)
    if not (isinstance(found, type) and issubclass(found, InfoExtractor)):
        raise TypeError(f"{name} is not an extractor class of yt-dlp")
    return found
