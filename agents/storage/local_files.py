"""Finds and describes the published files of a directory. Blocking."""

import os
import stat
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from agents.storage.disk import map_file_errors
from agents.storage.interface import PublishedFile
from agents.storage.local_records import read_record
from agents.storage.names import FileIds, extensions_of
from agents.storage.post_paths import post_stem


class LocalFiles:
    """The published files of a directory.

    Args:
        files: the directory.
    """

    def __init__(self, files: Path) -> None:
        self._files = files

    def scan(self, directories: Iterable[Path]) -> tuple[list[PublishedFile], list[Path]]:
        """Return the files of directories, and the directories below them."""
        found: list[PublishedFile] = []
        below: list[Path] = []
        with map_file_errors(self._files):
            for directory in directories:
                with os.scandir(directory) as entries:
                    visible = sorted((each for each in entries if each.name[0] != "."), key=_name)
                for each in visible:
                    if each.is_dir(follow_symlinks=False):
                        below.append(Path(each.path))
                    elif (status := self._stat_entry(each)) is not None:
                        found.append(_published(Path(each.path), status))
        return found, below

    def find_newest(self, ids: FileIds, default: PurePosixPath) -> PublishedFile | None:
        """Return the newest file of the default layout or the post's record."""
        with map_file_errors(self._files):
            record = read_record(self._files, ids)
            extensions = extensions_of(ids.format_id)
            stems = [default] if record is None else [default, post_stem(record, ids)]
            paths = [path for stem in stems for path in _list_stem(self._files / stem, extensions)]
        found = [_published(it, status) for it in paths if (status := self.stat(it)) is not None]
        return max(found, key=lambda each: each.published_at, default=None)

    def stat(self, path: Path) -> os.stat_result | None:
        """Return the status of a regular file inside the store, links resolved; None otherwise."""
        with map_file_errors(self._files):
            try:
                resolved = path.resolve(strict=True)
                status = resolved.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            inside = resolved.is_relative_to(self._files.resolve())
        return status if inside and stat.S_ISREG(status.st_mode) else None

    def _stat_entry(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        if entry.is_symlink():
            return self.stat(Path(entry.path))
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None


def _published(path: Path, status: os.stat_result) -> PublishedFile:
    return PublishedFile(
        uri=path.as_uri(),
        bytes=status.st_size,
        published_at=status.st_mtime,
        content=f"{status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else None,
    )


_name = attrgetter("name")


def path_of(uri: str) -> Path | None:
    """Return the path of a file URI; None for any other."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc or "\0" in unquote(parts.path):
        return None
    return Path(unquote(parts.path))


def _list_stem(stem: Path, extensions: Iterable[str]) -> list[Path]:
    """Return the files that are a stem with one of the extensions.

    Their folder is not listed: it may hold any number of files.

    Raises:
        OSError: the file system refuses.
    """
    if not _exists(str(stem.parent)):
        return []
    paths = (f"{stem}.{extension}" for extension in extensions)
    return [Path(path) for path in paths if _exists(path)]


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
