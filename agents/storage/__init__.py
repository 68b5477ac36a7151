"""Storage of finished files: the interface, and the implementation in a local directory."""

from agents.storage.errors import FileGoneError
from agents.storage.interface import PublishedFile, Storage
from agents.storage.local import LocalStorage

__all__ = ["FileGoneError", "LocalStorage", "PublishedFile", "Storage"]
