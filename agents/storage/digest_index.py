"""Index of the published files of a directory by digest, so that equal bytes are stored once.

An entry, ``.digests/<first two digits>/<digest>``, is a symbolic link whose text is the relative
path of a file; it is never followed. Entries are hints: the file may have been removed or replaced,
so size and digest are verified before it is used. Further files with a digest have entries of their
own, ``<digest>~<digest of the path>``, which take its place. A lost index is rebuilt from the
digests in the files' extended attributes. Blocking.
"""

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

DIRECTORY = ".digests"

COMPLETE = "complete"
"""Entry of an index that has had all files; without it the index is rebuilt."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class DigestIndex:
    """The index of a directory. It may be lost or wrong at any moment, and never fails its caller.

    Args:
        files: directory of the published files.
    """

    def __init__(self, files: Path) -> None:
        self._files = files
        self._directory = files / DIRECTORY

    @property
    def is_complete(self) -> bool:
        """Whether the index has had all files since it was built."""
        return os.path.lexists(self._directory / COMPLETE)

    def add(self, path: Path, sha256: str) -> None:
        """Add a published file, as a further one if another one with the digest is there."""
        if _DIGEST.fullmatch(sha256):
            with suppress(OSError):
                self._add(path.relative_to(self._files), self._entry(sha256))

    def discard(self, path: Path, sha256: str, *, shared: bool) -> None:
        """Remove the entry of a file that is not published any more.

        Args:
            path: of the file.
            sha256: its digest.
            shared: its bytes had other names: the next `link` replaces the entry by one of them.
        """
        if _DIGEST.fullmatch(sha256):
            entry, name = self._entry(sha256), path.relative_to(self._files)
            with suppress(OSError):
                _further(entry, name).unlink(missing_ok=True)
                is_stale = entry.readlink() == name or self._published(entry) is None
                if is_stale and not shared:
                    entry.unlink()

    def complete(self) -> None:
        """Record that the index has had all files."""
        with suppress(OSError):
            self._directory.mkdir(exist_ok=True)
            (self._directory / COMPLETE).touch()

    def link(self, path: Path, sha256: str) -> Path | None:
        """Replace an unpublished file by a link to a published one with the same bytes.

        The modification time of the shared file becomes now: it was published just now under one
        of its names.

        Args:
            path: of the unpublished file, on the same file system.
            sha256: its digest.

        Returns:
            Path of the published file; None without one, and where it cannot be read or linked.
        """
        if not _DIGEST.fullmatch(sha256):
            return None
        with suppress(OSError):
            return self._link(path, sha256, self._entry(sha256))
        return None

    def _link(self, path: Path, sha256: str, entry: Path) -> Path | None:
        while os.path.lexists(entry):
            published = self._published(entry)
            if published is not None and self._replace(path, sha256, published):
                return published
            _remove_first(entry)
        return None

    def _replace(self, path: Path, sha256: str, published: Path) -> bool:
        link = path.with_name(f"{path.name}~link")
        link.unlink(missing_ok=True)
        os.link(published, link, follow_symlinks=False)
        # From here on it cannot be removed, and it is verified under its new name.
        if not _has_bytes(link, path.lstat().st_size, sha256):
            link.unlink()
            return False
        os.utime(link)
        link.replace(path)
        return True

    def _entry(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256

    def _add(self, name: Path, entry: Path) -> None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            entry.symlink_to(name)
        except FileExistsError:
            if entry.readlink() != name:
                with suppress(FileExistsError):
                    _further(entry, name).symlink_to(name)

    def _published(self, entry: Path) -> Path | None:
        """Return the path of the file of an entry; None for none inside the directory."""
        try:
            name = PurePosixPath(entry.readlink())
            path = self._files / name
            is_inside = path.parent.resolve().is_relative_to(self._files.resolve())
            is_file = stat.S_ISREG(path.lstat().st_mode)
        except OSError:
            return None
        return path if is_inside and is_file and not name.parts[0].startswith(".") else None


def _has_bytes(link: Path, size: int, sha256: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(link, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _further(entry: Path, name: Path) -> Path:
    """Return the entry of a further file with the digest of an entry."""
    digest = hashlib.sha256(bytes(name)).hexdigest()
    return entry.with_name(f"{entry.name}~{digest[:16]}")


def _remove_first(entry: Path) -> None:
    """Replace a stale entry by that of a further file, or else remove it."""
    others = sorted(entry.parent.glob(f"{entry.name}~*"))
    if others:
        others[0].replace(entry)
    else:
        entry.unlink()
