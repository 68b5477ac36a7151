"""Finds the files of a folder, and the post of each: by our layouts, or by the names of yt-dlp."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from agents.platforms import Platforms
from agents.storage import PostDetails
from agents.storage.names import ADOPTED, FileIds, file_stem
from agents.storage.path_layout import PathLayout, read_path
from agents.storage_check.adoption.report import RefusedError
from agents.storage_check.adoption.ytdlp_files import (
    INFO_SUFFIX,
    post_of_link,
    read_info,
    read_name,
)
from schemas.errors import ClipmillError
from schemas.files import SIDECAR_TYPES
from schemas.video import CONTAINERS

DEPTH_MAX = 32
"""Folders below each other; more are a mistake, such as a mount of the folder in itself."""


class FolderError(Exception):
    """A folder cannot be listed."""


class IdentifiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose post is known.

    Attributes:
        path: of the file.
        status: of the file when it was found.
        ids: of the file; the format is `ADOPTED` when only the post is known.
        details: of the post.
    """

    path: Path
    status: os.stat_result
    ids: FileIds
    details: PostDetails


class PostFinder:
    """Finds the post of a file.

    Args:
        layouts: of the storage, and of the folder.
        platforms: the installed ones.
        platform: of names without one; None: none is assumed.
        archived: platforms of the ids in a download archive.
        bytes_max: of a file.
    """

    def __init__(
        self,
        layouts: Sequence[PathLayout],
        platforms: Platforms,
        *,
        platform: str | None = None,
        archived: Mapping[str, str],
        bytes_max: int,
    ) -> None:
        self._layouts = layouts
        self._platforms = platforms
        self._platform = platform
        self._archived = archived
        self._bytes_max = bytes_max

    def find(self, path: Path) -> IdentifiedFile:
        """Return a file with its post.

        Raises:
            RefusedError: it is no media file, or its post is not known.
        """
        status = self._check(path)
        stored = read_path(PurePosixPath(path), self._layouts)
        ids, details = (stored.ids, stored.details) if stored else self._of_ytdlp(path)
        if ids.platform not in self._platforms.names:
            raise RefusedError(f"no installed platform is called {ids.platform}")
        try:
            file_stem(ids)
        except ClipmillError as error:
            raise RefusedError(error.message) from None
        return IdentifiedFile(path=path, status=status, ids=ids, details=details)

    def _check(self, path: Path) -> os.stat_result:
        try:
            status = path.lstat()
        except OSError as error:
            raise RefusedError(f"it cannot be read: {error.strerror}") from None
        if stat.S_ISLNK(status.st_mode):
            raise RefusedError("it is a symbolic link")
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError("it is not a regular file")
        extension = path.suffix[1:]
        if extension in SIDECAR_TYPES:
            raise RefusedError("requests write metadata anew")
        if extension not in CONTAINERS:
            raise RefusedError("its extension is none of a media file")
        if status.st_size == 0:
            raise RefusedError("it is empty")
        if status.st_size > self._bytes_max:
            raise RefusedError(f"it is larger than download.file_bytes, {self._bytes_max}")
        return status

    def _of_ytdlp(self, path: Path) -> tuple[FileIds, PostDetails]:
        info, named = read_info(path, path.stem), read_name(path.stem)
        if info is not None:
            if info.is_watermarked:
                raise RefusedError("it is watermarked")
            post = post_of_link(info.webpage_url, self._platforms)
            return FileIds(post.platform, post.id, ADOPTED), info.details
        if named is None:
            raise RefusedError("its name is none of clipmill or yt-dlp, and it has no info file")
        title, video_id = named
        platform = self._archived.get(video_id, self._platform)
        if platform is None:
            raise RefusedError("its name has no platform; use --platform or --archive")
        return FileIds(platform, video_id, ADOPTED), PostDetails(title=title)


def list_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder by name, without hidden ones and info files.

    Links to folders are yielded, and not followed.

    Raises:
        FolderError: a folder cannot be listed, or they are too deep.
    """
    pending = [(folder, 0)]
    while pending:
        directory, depth = pending.pop()
        if depth > DEPTH_MAX:
            raise FolderError(f"{directory} is more than {DEPTH_MAX} folders deep")
        try:
            with os.scandir(directory) as entries:
                visible = sorted((it for it in entries if it.name[0] != "."), key=_name)
        except OSError as error:
            raise FolderError(f"{directory} cannot be listed: {error.strerror}") from None
        below = [Path(each) for each in visible if each.is_dir(follow_symlinks=False)]
        pending.extend((each, depth + 1) for each in reversed(below))
        for each in visible:
            if not each.is_dir(follow_symlinks=False) and not each.name.endswith(INFO_SUFFIX):
                yield Path(each)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
