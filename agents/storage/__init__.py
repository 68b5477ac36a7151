"""Storage of finished files: the interface, and the implementation in a local directory."""

from agents.storage.errors import FileGoneError
from agents.storage.interface import NO_DETAILS, PublishedFile, Storage
from agents.storage.local import LocalStorage
from agents.storage.post_paths import PostDetails
from agents.storage.records import Records

__all__ = [
    "NO_DETAILS",
    "FileGoneError",
    "LocalStorage",
    "PostDetails",
    "PublishedFile",
    "Records",
    "Storage",
]
