"""Loads the settings; errors name the setting that is unknown or invalid."""

import difflib
import os
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from streams.settings.kinds import Group
from streams.settings.model import CONFIG_FILE_VARIABLE, ENV_PREFIX, Settings, config_file


class SettingsError(Exception):
    """A setting is unknown or invalid; the text names it."""


class UnknownSettingError(SettingsError):
    """There is no such setting."""


def load_settings(**overrides: Any) -> Settings:
    """Load the settings; ``overrides`` are the values from the command line.

    Raises:
        SettingsError: an unknown setting or a bad value; the text names it.
    """
    _reject_unknown_variables()
    _reject_missing_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        errors = error.errors()
        is_unknown = any(each["type"] == _UNKNOWN for each in errors)
        kind = UnknownSettingError if is_unknown else SettingsError
        raise kind("\n".join(map(_explain, errors))) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{config_file()} or the environment cannot be read: {error}") from None


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == _UNKNOWN:
        return _unknown(name, [".".join(path) for path, _ in setting_paths()])
    return f"{name} has an invalid value: {error['msg'].removeprefix('Value error, ')}"


_UNKNOWN = "extra_forbidden"
"""Pydantic's error type of a field that the model does not have."""


def _reject_unknown_variables() -> None:
    known = {variable_name(path) for path, _ in setting_paths()} | {CONFIG_FILE_VARIABLE}
    groups = {name.rpartition("__")[0] for name in known} - {""}
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known | groups:
            raise UnknownSettingError(_unknown(name, sorted(known)))


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    hint = f"did you mean {close[0]}?" if close else "`clipmill config` lists them all"
    return f"{name} is not a setting; {hint}"


def _reject_missing_file() -> None:
    file = config_file()
    if (CONFIG_FILE_VARIABLE in os.environ or file.exists()) and not file.is_file():
        raise SettingsError(f"the settings file {file} does not exist, or is not a file")


def setting_paths(
    model: type[BaseModel] = Settings, prefix: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], str]]:
    """Return (path, description) of every setting, in order of declaration."""
    found: list[tuple[tuple[str, ...], str]] = []
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            found += setting_paths(field.annotation, path)
        else:
            found.append((path, field.description or ""))
    return found


def variable_name(path: tuple[str, ...]) -> str:
    return ENV_PREFIX + "__".join(path).upper()
