"""Landlock: takes the access to files from this process, except to read some.

Documentation/userspace-api/landlock.rst of Linux; since 5.13.
"""

import ctypes
import os
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, with these numbers on all architectures."""

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_RIGHTS = (0, 0x1FFF, 0x3FFF, 0x7FFF)
"""Rights on files by the version of the interface; later versions add none for regular ones."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def restrict_files(readable: Iterable[str]) -> bool:
    """Refuse this process and its program all files but those below paths, irrevocably.

    Open files stay usable. The process must not be able to gain privileges (no_new_privs).

    Args:
        readable: files and folders that may be read and executed; those that cannot be opened are
            left out.

    Returns:
        Whether the kernel supports it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    handled = _Ruleset(_RIGHTS[min(version, len(_RIGHTS) - 1)])
    size = ctypes.c_size_t(ctypes.sizeof(handled))
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(handled), size, 0))
    for path in readable:
        _permit(libc, ruleset, path)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return True


def _permit(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = _EXECUTE | _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112 - a text
    rule = _PathBeneath(rights, descriptor)
    _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "a system call of Landlock failed")
    return result
