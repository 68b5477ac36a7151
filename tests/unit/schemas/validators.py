"""JSON Schema validation for the tests, with dates checked as RFC 3339 times."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_timestamp(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def errors(schema: Mapping[str, Any], body: object) -> list[str]:
    """Return the validation errors of a body."""
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise for an invalid schema."""
    Draft202012Validator.check_schema(schema)
