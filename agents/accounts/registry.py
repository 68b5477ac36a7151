"""Loads the configured authenticator: the built-in one or a plug-in (entry point)."""

import logging
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import Authenticator, LoginSettings
from schemas.errors import ClipmillError, ErrorCode

GROUP = "clipmill.authenticators"
"""Entry points of this group are `Authenticator` classes, constructed with `LoginSettings`."""

BUILT_IN: dict[str, Callable[[LoginSettings], Authenticator]] = {"cookie_files": CookieFiles}

_log = logging.getLogger(__name__)


def load_authenticator(
    name: str, settings: LoginSettings, points: Iterable[EntryPoint] | None = None
) -> Authenticator:
    """Construct the authenticator of a name.

    Args:
        name: of the setting ``auth.authenticator``.
        settings: its constructor argument.
        points: the plug-ins; the installed ones when None.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](settings)
    installed = {point.name: point for point in points or entry_points(group=GROUP)}
    if name not in installed:
        available = ", ".join(sorted({*BUILT_IN, *installed}))
        raise _unavailable(name, f"no installed package provides it; available: {available}")
    return _load(installed[name], settings)


def _load(point: EntryPoint, settings: LoginSettings) -> Authenticator:
    try:
        authenticator: Authenticator = point.load()(settings)
        authenticator.accounts("")
    except Exception as error:  # noqa: BLE001 - plug-in code may raise anything
        # The traceback without the message, which may hold secret options.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("authenticator plug-in %s (%s) is broken:\n%s", point.name, point.value, where)
        reason = f"{point.value} is broken: {type(error).__name__}"
        raise _unavailable(point.name, reason) from None
    return authenticator


def _unavailable(name: str, reason: str) -> ClipmillError:
    message = f"the authenticator {name!r} is not available: {reason}; correct auth.authenticator"
    return ClipmillError(ErrorCode.SYSTEM_CONFIG, message)
