"""Storage of finished files: the interface, and the implementation in a local directory."""

from agents.storage.interface import NO_DETAILS, FileGoneError, PublishedFile, Records, Storage
from agents.storage.local import LocalStorage
from agents.storage.post_paths import PostDetails

__all__ = [
    "NO_DETAILS",
    "FileGoneError",
    "LocalStorage",
    "PostDetails",
    "PublishedFile",
    "Records",
    "Storage",
]
