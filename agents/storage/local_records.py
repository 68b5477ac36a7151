"""Records in a directory, those of posts among them."""

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from agents.storage.disk import (
    make_directories,
    map_file_errors,
    run_on_disk,
    sync_directory,
    sync_file,
)
from agents.storage.interface import RECORD_BYTES_MAX
from agents.storage.names import FileIds
from agents.storage.post_paths import (
    PostDetails,
    PostRecord,
    decode_record,
    encode_record,
    record_name,
)
from agents.storage.workspaces import Workspaces
from schemas.path_template import PathTemplate


class LocalRecords:
    """`Records` in a directory.

    Args:
        files: directory of the published files.
        workspaces: have the unfinished records.
    """

    def __init__(self, files: Path, workspaces: Workspaces) -> None:
        self._files = files
        self._workspaces = workspaces

    async def read(self, name: PurePosixPath) -> bytes | None:
        """See `Records.read`."""
        return await run_on_disk(partial(read_file, self._files / name), self._files)

    async def write(self, name: PurePosixPath, content: bytes) -> None:
        """See `Records.write`."""
        scratch = self._workspaces.directory
        write = partial(write_file, self._files, name, content, scratch=scratch)
        await run_on_disk(write, self._files)

    async def remove(self, name: PurePosixPath) -> None:
        """See `Records.remove`."""

        def remove() -> None:
            with suppress(FileNotFoundError, NotADirectoryError):
                (self._files / name).unlink()

        await run_on_disk(remove, self._files)

    async def names(self, folder: str) -> AsyncIterator[PurePosixPath]:
        """See `Records.names`."""
        directories = deque([self._files / folder])
        while directories:
            found, below = await asyncio.to_thread(self._list, directories.popleft())
            directories.extend(below)
            for each in found:
                yield PurePosixPath(each.relative_to(self._files))

    def _list(self, directory: Path) -> tuple[list[Path], list[Path]]:
        with map_file_errors(self._files):
            try:
                with os.scandir(directory) as entries:
                    listed = [(Path(each), each.is_dir(follow_symlinks=False)) for each in entries]
            except (FileNotFoundError, NotADirectoryError):
                return [], []
        files = [path for path, is_directory in listed if not is_directory]
        return files, [path for path, is_directory in listed if is_directory]


def read_file(path: Path) -> bytes | None:
    """Return a record; None without one.

    Raises:
        OSError: the file system refuses.
    """
    # A FIFO without a writer would block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(RECORD_BYTES_MAX + 1)
    return content if len(content) <= RECORD_BYTES_MAX else None


def write_file(files: Path, name: PurePosixPath, content: bytes, *, scratch: Path) -> None:
    """Write a record durably; an existing one is replaced.

    Args:
        files: directory of the published files.
        name: of the record.
        content: of the record.
        scratch: directory for the unfinished record.

    Raises:
        OSError: the file system refuses.
    """
    target = files / name
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="record-", delete=False) as file:
        file.write(content)
    sync_file(Path(file.name))
    make_directories(target.parent, files)
    Path(file.name).replace(target)
    sync_directory(target.parent)


def read_record(files: Path, ids: FileIds) -> PostRecord | None:
    """Return the record of a post; None without a valid one.

    Raises:
        OSError: the file system refuses.
    """
    content = read_file(files / record_name(ids))
    return None if content is None else decode_record(content)


def ensure_record(
    files: Path, ids: FileIds, template: PathTemplate, details: PostDetails, *, scratch: Path
) -> PostRecord:
    """Return the record of a post; write it for a new post.

    Of two workers that publish files of a new post at once the later record remains. Then the files
    of the other one may be elsewhere: they are not found and downloaded again.

    Args:
        files: directory of the published files.
        ids: of a file of the post.
        template: for a new post.
        details: of a new post.
        scratch: directory for the unfinished record.

    Raises:
        OSError: the file system refuses.
    """
    known = read_record(files, ids)
    if known is not None:
        return known
    record = PostRecord.of(template, details)
    write_file(files, record_name(ids), encode_record(record), scratch=scratch)
    return record
