"""Which cookie files there are for a platform. An account is a file, its name the file's stem."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.accounts.cookie_file import UnusableFileError
from schemas.errors import ClipmillError, ErrorCode

PATTERN = "*.txt"
"""Cookie files in a folder."""

ACCOUNTS_MAX = 100
"""Of one platform; they are labels of metrics, and all are looked at for every page."""


_NAME = re.compile(r"[\w.@+-]{1,64}", re.ASCII)
"""What may be a label of a metric, and part of a line of a log."""

_OTHER_SIGN = re.compile(r"[^\w.@+-]", re.ASCII)


def account_name(path: Path) -> str:
    """Return the name of a file's account: its stem, or something like it that may be a name."""
    if _NAME.fullmatch(path.stem):
        return path.stem
    # Two files that look alike are still two accounts.
    digest = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]
    return f"{_OTHER_SIGN.sub('_', path.stem[:55])}-{digest}"


def account_names(places: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the accounts of these files and folders.

    A folder that is not here, as on a machine that only needs to know whether there are accounts,
    counts as one account, ``*``. Blocks for as long as it takes to list a folder.
    """
    found: dict[str, None] = {}
    for place in places:
        try:
            found |= dict.fromkeys(account_name(path) for path in _files(place))
        except OSError:
            found["*"] = None
    return tuple(found)[:ACCOUNTS_MAX]


def account_files(places: Sequence[Path]) -> Mapping[str, Path]:
    """Return the files of the accounts by name; of two of one name the first. Blocks.

    Raises:
        UnusableFileError: a folder cannot be listed.
        ClipmillError: ``system.config``; there are too many files.
    """
    found: dict[str, Path] = {}
    for place in places:
        try:
            for path in _files(place):
                found.setdefault(account_name(path), path)
        except OSError as error:
            raise UnusableFileError(place, error.strerror or type(error).__name__) from None
    if len(found) > ACCOUNTS_MAX:
        message = f"there are {len(found)} cookie files for a platform; {ACCOUNTS_MAX} is the most"
        raise ClipmillError(ErrorCode.SYSTEM_CONFIG, message)
    return found


def _files(place: Path) -> list[Path]:
    """Return the cookie files at a place; a file is named though it is not here."""
    if not _is_folder(place):
        return [place]
    found = (path for path in place.iterdir() if path.match(PATTERN))
    return sorted(path for path in found if not path.name.startswith("."))


def _is_folder(place: Path) -> bool:
    """Return whether a place is a folder; what is not here is one when it has no suffix."""
    return place.is_dir() or not (place.exists() or place.suffix)
