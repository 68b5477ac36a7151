"""Finds the cookie files of a platform. An account is a file, named after the file's stem."""

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
"""Per platform: names are metric labels, and all files are polled for every page."""


_NAME = re.compile(r"[\w.@+-]{1,64}", re.ASCII)
"""Safe as a metric label and in a log line."""

_UNSAFE_CHARACTER = re.compile(r"[^\w.@+-]", re.ASCII)


def account_name(path: Path) -> str:
    """Return the account name of a file: its stem, made safe where it has other characters."""
    if _NAME.fullmatch(path.stem):
        return path.stem
    # The digest keeps apart stems that differ only in replaced characters.
    digest = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]
    return f"{_UNSAFE_CHARACTER.sub('_', path.stem[:55])}-{digest}"


def account_names(locations: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the accounts of these files and folders.

    A missing folder counts as one account, ``*``: recovery only needs to know whether there are
    accounts, and may run on a machine without the files. Blocks while a folder is listed.
    """
    found: dict[str, None] = {}
    for location in locations:
        try:
            found |= dict.fromkeys(account_name(path) for path in _files(location))
        except OSError:
            found["*"] = None
    return tuple(found)[:ACCOUNTS_MAX]


def account_files(locations: Sequence[Path]) -> Mapping[str, Path]:
    """Return the files by account name; the first of several with one name wins. Blocks.

    Raises:
        UnusableFileError: a folder cannot be listed.
        ClipmillError: ``system.config``; there are too many files.
    """
    found: dict[str, Path] = {}
    for location in locations:
        try:
            for path in _files(location):
                found.setdefault(account_name(path), path)
        except OSError as error:
            raise UnusableFileError(location, error.strerror or type(error).__name__) from None
    if len(found) > ACCOUNTS_MAX:
        message = f"{len(found)} cookie files for one platform; the maximum is {ACCOUNTS_MAX}"
        raise ClipmillError(ErrorCode.SYSTEM_CONFIG, message)
    return found


def _files(location: Path) -> list[Path]:
    """Return the cookie files at a location; a single file is returned without a check."""
    if not _is_folder(location):
        return [location]
    found = (path for path in location.iterdir() if path.match(PATTERN))
    return sorted(path for path in found if not path.name.startswith("."))


def _is_folder(location: Path) -> bool:
    """Return whether it is a folder; a missing path counts as one when it has no suffix."""
    return location.is_dir() or not (location.exists() or location.suffix)
