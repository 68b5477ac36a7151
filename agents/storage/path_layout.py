"""Reads the ids of a stored file back from its path. Pure.

The fields that identify a file are separated from all others, see `schemas.path_template`, so each
path of a template has one reading. A file is looked at by the last parts of its path: its folder
may be anywhere.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from agents.storage.names import FileIds, format_of
from agents.storage.post_paths import DEVICE_PREFIX, UNKNOWN, PostDetails
from schemas.path_template import Part, PathTemplate, TemplateField, parse_template

DEFAULT = parse_template("{platform}/{id}/{id}.{format}.{ext}")
"""The layout without a template."""

_IDS = {
    "platform": "[a-z0-9][a-z0-9_-]{0,31}",
    "id": "[A-Za-z0-9_-]{1,64}",
    # Subtitles have their language behind a dot.
    "format": r"[A-Za-z0-9_~-]{1,83}(?:\.[A-Za-z0-9_~-]{1,83})?",
}


_DIGITS = {"Y": 4, "j": 3}
"""Digits of the directives of a date that have not two."""


class StoredName(msgspec.Struct, frozen=True, kw_only=True):
    """What the path of a file says: its ids, its extension, and the texts of a template."""

    ids: FileIds
    extension: str
    details: PostDetails = PostDetails()


class PathLayout:
    """Reads the paths of a template.

    Args:
        template: of the paths.
    """

    def __init__(self, template: PathTemplate) -> None:
        self._length = len(template.parts)
        fields = [it for part in template.parts for it in part if isinstance(it, TemplateField)]
        dates = (each.date_format for each in fields if each.name == "date")
        self._date_format = max(dates, key=len, default="")
        self._named: set[str] = set()
        parts = "/".join(map(self._pattern_of, template.parts))
        self._pattern = re.compile(rf"{parts}\.(?P<ext>[a-z0-9]{{1,4}})")

    def read(self, path: PurePosixPath) -> StoredName | None:
        """Return what a path says; None for one of another layout."""
        found = self._pattern.fullmatch("/".join(path.parts[-self._length :]))
        if found is None:
            return None
        ids = FileIds(found["platform"], found["id"], format_of(found["format"]))
        texts = {name: text for name, text in found.groupdict().items() if text != UNKNOWN}
        details = PostDetails(
            author=texts.get("author", ""),
            author_id=texts.get("author_id", ""),
            title=texts.get("title", ""),
            published_at=self._date(texts),
        )
        return StoredName(ids=ids, extension=found["ext"], details=details)

    def _date(self, texts: dict[str, str]) -> datetime | None:
        try:
            return datetime.strptime(texts["date"], self._date_format).replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None

    def _pattern_of(self, part: Part) -> str:
        """Return the pattern of a directory or file name."""
        patterns = (re.escape(it) if isinstance(it, str) else self._group_of(it) for it in part)
        return f"{DEVICE_PREFIX}?{''.join(patterns)}"

    def _group_of(self, field: TemplateField) -> str:
        pattern = _IDS.get(field.name, "[^/]+")
        if field.name == "date":
            pattern = f"(?:{_date_pattern(field.date_format)}|{UNKNOWN})"
        if field.name in self._named:
            # A text may be cut differently at its second place.
            return f"(?P={field.name})" if field.is_identity else pattern
        if field.name == "date" and field.date_format != self._date_format:
            return pattern
        self._named.add(field.name)
        return f"(?P<{field.name}>{pattern})"


def layouts_of(template: str | None, *others: str | None) -> tuple[PathLayout, ...]:
    """Return the layouts of a store with a template, and of further templates.

    Raises:
        ValueError: a template breaks a rule.
    """
    named = [parse_template(text) for text in (template, *others) if text]
    return tuple(PathLayout(each) for each in dict.fromkeys([*named, DEFAULT]))


def read_path(path: PurePosixPath, layouts: Sequence[PathLayout]) -> StoredName | None:
    """Return what a path says by the first layout that it has; None for a foreign one."""
    return next((name for each in layouts if (name := each.read(path)) is not None), None)


def path_of_uri(uri: str) -> PurePosixPath:
    """Return the path of a stored file's URI. Those of object stores contain no escapes."""
    is_local = uri.startswith("file:")
    return PurePosixPath(unquote(urlsplit(uri).path) if is_local else uri)


def _date_pattern(date_format: str) -> str:
    literal, *directives = date_format.split("%")
    pieces = (rf"\d{{{_DIGITS.get(it[0], 2)}}}{re.escape(it[1:])}" for it in directives)
    return re.escape(literal) + "".join(pieces)
