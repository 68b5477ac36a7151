"""What the parent wants of a child."""

import json
import sys
from dataclasses import dataclass
from typing import Self


class _Order:
    @classmethod
    def read(cls) -> Self:
        """Return the order that stands on standard input as JSON."""
        return cls(**json.load(sys.stdin))


@dataclass(frozen=True, kw_only=True)
class Extractions(_Order):
    """Pages to extract.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root.
        ca_bundle: the same with the usual roots.
        warm: URLs that are extracted first and not measured.
        urls: the others.
        way: which way of several, if the child has several.
        in_flight: how many at a time, if the child can do that.
        processes: of the engine, if the child has one; 0: as the settings say.
    """

    proxy: str
    ca_file: str
    ca_bundle: str
    warm: list[str]
    urls: list[str]
    way: str = ""
    in_flight: int = 1
    processes: int = 0


@dataclass(frozen=True, kw_only=True)
class Download(_Order):
    """A file to download.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root.
        url: the file.
        directory: for the file, and for this child alone.
        size: of the file, in bytes.
        sha256: of the file, hexadecimal.
        way: which way of several, if the child has several.
    """

    proxy: str
    ca_file: str
    url: str
    directory: str
    size: int
    sha256: str
    way: str = ""


@dataclass(frozen=True, kw_only=True)
class Downloads(_Order):
    """Files to download at once.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root.
        urls: the files.
        directory: for the files, and for this child alone.
        size: of each file, in bytes.
    """

    proxy: str
    ca_file: str
    urls: list[str]
    directory: str
    size: int
