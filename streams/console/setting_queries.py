"""The query string of the settings."""

from collections.abc import Mapping

from streams.console.queries import given_texts

ONLY_SET = "set"
"""Parameter, of any value, without which settings with their default are shown too."""


def is_only_set(parameters: Mapping[str, str]) -> bool:
    """Return whether settings with their default are left out.

    Raises:
        QueryError: a parameter is unknown.
    """
    return ONLY_SET in given_texts(parameters, (ONLY_SET,))
