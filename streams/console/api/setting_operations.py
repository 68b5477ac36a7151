"""The operation on settings, and the types of its JSON."""

import msgspec

from streams.console.api.operations import Operation, Parameter
from streams.console.setting_queries import ONLY_SET


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as it is in use.

    Attributes:
        name: its path, such as `kafka.bootstrap`.
        value: in the notation of TOML; secrets and logins in URLs are `********`.
        is_set: an operator has set it.
        source: `default`, `command line`, or which variable or file has it.
        description: its meaning.
    """

    name: str
    value: str
    is_set: bool
    source: str
    description: str


class SettingList(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that this console has started with; workers have their own."""

    settings: tuple[SettingView, ...]


OPERATIONS = (
    Operation(
        method="get",
        path="/settings",
        name="listSettings",
        summary="Return the settings that this console has started with; secrets are masked.",
        parameters=(
            Parameter(
                name=ONLY_SET,
                description="Of any value: settings with their default are left out.",
                example="yes",
            ),
        ),
        response=SettingList,
        example={
            "settings": [
                {
                    "name": "kafka.partitions",
                    "value": "8",
                    "is_set": True,
                    "source": "environment CLIPMILL_KAFKA__PARTITIONS",
                    "description": "Number of partitions of new topics.",
                }
            ]
        },
    ),
)
