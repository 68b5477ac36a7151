"""Records of posts in a directory, see `agents.storage.post_paths`, and the search by stem."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from agents.storage.durability import make_directories, sync_directory, sync_file
from agents.storage.names import FileIds
from agents.storage.post_paths import (
    RECORD_BYTES_MAX,
    PostDetails,
    PostRecord,
    decode_record,
    encode_record,
    record_name,
)
from schemas.path_template import PathTemplate


def read_record(files: Path, ids: FileIds) -> PostRecord | None:
    """Return the record of a post; None without a valid one.

    Raises:
        OSError: the file system refuses.
    """
    try:
        descriptor = os.open(files / record_name(ids), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return decode_record(file.read(RECORD_BYTES_MAX))


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
    record, target = PostRecord.of(template, details), files / record_name(ids)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="record-", delete=False) as file:
        file.write(encode_record(record))
    sync_file(Path(file.name))
    make_directories(target.parent, files)
    Path(file.name).replace(target)
    sync_directory(target.parent)
    return record


def list_stem(stem: Path, extensions: Iterable[str]) -> list[Path]:
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
