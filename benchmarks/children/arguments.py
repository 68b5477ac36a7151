"""Arguments of the children, passed by the parent as JSON."""

import json
import sys
from dataclasses import dataclass
from typing import Self


class _Arguments:
    @classmethod
    def read(cls) -> Self:
        """Return the arguments on standard input."""
        return cls(**json.load(sys.stdin))


@dataclass(frozen=True, kw_only=True)
class Extractions(_Arguments):
    """Pages to extract.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root certificate.
        ca_bundle: the same with the usual roots.
        warm: URLs for the warm-up, which is not measured.
        urls: measured URLs.
        variant: one of the child's variants, if it has several.
        in_flight: concurrent extractions, if the child supports it.
        processes: of the engine, if the child has one; 0 for the settings' default.
        threads: of each process; 0 for the default.
    """

    proxy: str
    ca_file: str
    ca_bundle: str
    warm: list[str]
    urls: list[str]
    variant: str = ""
    in_flight: int = 1
    processes: int = 0
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Download(_Arguments):
    """A file to download.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root certificate.
        url: the file.
        directory: of the file, used by this child alone.
        size: of the file, in bytes.
        sha256: of the file, hexadecimal.
        variant: one of the child's variants, if it has several.
        copies: concurrent downloads of it, if the child supports it.
    """

    proxy: str
    ca_file: str
    url: str
    directory: str
    size: int
    sha256: str
    variant: str = ""
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class Downloads(_Arguments):
    """Files to download concurrently.

    Attributes:
        proxy: URL of the stand-in.
        ca_file: its root certificate.
        urls: the files.
        directory: of the files, used by this child alone.
        size: of each file, in bytes.
    """

    proxy: str
    ca_file: str
    urls: list[str]
    directory: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Uploads(_Arguments):
    """Copies of a file to upload concurrently.

    Attributes:
        endpoint: URL of the S3 server.
        bucket: of the objects.
        prefix: of their keys.
        directory: for workspaces, on the file system of the file.
        path: the file.
        sha256: of the file, hexadecimal.
        count: of copies.
    """

    endpoint: str
    bucket: str
    prefix: str
    directory: str
    path: str
    sha256: str
    count: int
