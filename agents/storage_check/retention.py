"""Chooses the stored files to remove by age and by the bytes of all files together. Pure."""

from collections.abc import Iterable

from agents.storage import PublishedFile


def files_to_remove(
    files: Iterable[PublishedFile], *, before: float | None, keep_bytes: int | None
) -> list[PublishedFile]:
    """Return the files to remove, oldest first.

    Args:
        files: all stored files.
        before: files that were published before this epoch second are removed; None: none is.
        keep_bytes: of the others the oldest are removed until these bytes remain; None: none is.
    """
    removed: list[PublishedFile] = []
    ordered = sorted(files, key=lambda file: (file.published_at, file.uri))
    remaining = sum(file.bytes for file in ordered)
    for file in ordered:
        is_old = before is not None and file.published_at < before
        is_beyond = keep_bytes is not None and remaining > keep_bytes
        if not is_old and not is_beyond:
            break
        removed.append(file)
        remaining -= file.bytes
    return removed
